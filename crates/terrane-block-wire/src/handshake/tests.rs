use super::*;
use tokio::io::duplex;

const WHO: Dialer = Dialer::Server(ServerId(77));

async fn shake(
    keys: [ClusterKey; 2],
    protocols: [Protocol; 2],
    expected: Option<u128>,
) -> (Result<(u8, u128), WireError>, Result<(u8, Dialer), WireError>) {
    let (mut near, mut far) = duplex(1024);
    let dialer = async move { dial(&mut near, &keys[0], protocols[0], WHO, expected).await };
    let [_, protocol] = protocols;
    let key = keys_of(1);
    let acceptor = async move { accept(&mut far, &key, protocol, 5).await };
    tokio::join!(dialer, acceptor)
}

fn keys_of(byte: u8) -> ClusterKey {
    ClusterKey::from_bytes([byte; 32])
}

#[tokio::test]
async fn who_knows_the_key_gets_in() {
    let data = [Protocol::Data; 2];
    let (near, far) = shake([keys_of(1), keys_of(1)], data, Some(5)).await;
    assert_eq!((near.unwrap(), far.unwrap()), ((1, 5), (1, WHO)));
    let (near, far) = shake([keys_of(2), keys_of(1)], data, None).await;
    assert!(matches!((near, far), (Err(WireError::NotOurs), Err(WireError::Closed))));
    let (near, far) = shake([keys_of(1), keys_of(1)], data, Some(6)).await;
    assert!(matches!((near, far), (Err(WireError::SomeoneElse { found: 5, .. }), Err(WireError::Closed))));
    let (near, far) = shake([keys_of(1), keys_of(1)], [Protocol::Data, Protocol::Control], None).await;
    assert!(matches!((near, far), (Err(WireError::OtherProtocol), Err(WireError::OtherProtocol))));
}

/// Whoever does not know the key may repeat or reflect whatever was said before.
#[tokio::test]
async fn a_recorded_dialer_does_not_get_in() {
    let key = keys_of(1);
    let hello = Hello { protocol: Protocol::Data, versions: VERSIONS, dialer: WHO, nonce: [3; 32] }.encode();
    let mut recorded = None;
    let mut results = Vec::new();
    for _ in 0..2 {
        let (mut near, mut far) = duplex(1024);
        let attempt = async {
            near.write_all(&hello).await.unwrap();
            let mut answer = [0; ANSWER];
            near.read_exact(&mut answer).await.unwrap();
            let honest = key.mac(&[DIALER, &hello, &answer]).finalize().into_bytes().to_vec();
            near.write_all(recorded.get_or_insert(honest)).await.unwrap();
        };
        results.push(tokio::join!(attempt, accept(&mut far, &key, Protocol::Data, 5)).1);
    }
    assert!(matches!(results[..], [Ok((1, WHO)), Err(WireError::NotOurs)]));
}

#[test]
fn versions_are_agreed_on() {
    assert_eq!(common((1, 1)), Some(1));
    assert_eq!(common((1, 9)), Some(1));
    assert_eq!(common((2, 9)), None);
    assert_eq!(common((0, 0)), None);
}

#[test]
fn bytes_are_pinned() {
    let hello = Hello { protocol: Protocol::Data, versions: (1, 2), dialer: WHO, nonce: [9; 32] }.encode();
    assert_eq!(hello[..17], *b"TRRNWIRE\x01\x02\x01\0\x02\0\x01\0\x4d");
    assert_eq!(hello[32..], [9; 32]);
    let answer = Answer { verdict: Verdict::Version(1), versions: (1, 2), id: 5, nonce: [8; 32] }.encode();
    assert_eq!(answer[..17], *b"TRRNWIRE\x01\0\x01\0\x01\0\x02\0\x05");
    assert_eq!(Hello::decode(&hello).unwrap().dialer, WHO);
}

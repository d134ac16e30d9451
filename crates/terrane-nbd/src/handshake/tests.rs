use proptest::prelude::*;

use super::*;
use crate::wire::transmission_flag as flag;

/// A client's side: builds input, reads replies.
struct Client {
    handshake: Handshake,
    input: BytesMut,
}

/// What came back for an option.
type Replies = Vec<(u32, u32, Vec<u8>)>;

impl Client {
    fn new(tls: TlsMode, flags: u32) -> Self {
        let mut client = Self { handshake: Handshake::new(tls), input: BytesMut::new() };
        let mut greeting = client.handshake.take_output();
        assert_eq!(greeting.get_u64(), 0x4e42_444d_4147_4943);
        assert_eq!(greeting.get_u64(), 0x4948_4156_454f_5054);
        assert_eq!(greeting.get_u16(), 3);
        client.input.put_u32(flags);
        client
    }

    fn fixed(tls: TlsMode) -> Self {
        Self::new(tls, 3)
    }

    fn send(&mut self, option: u32, data: &[u8]) -> Result<Step, HandshakeError> {
        put_option(&mut self.input, option, data);
        self.handshake.advance(&mut self.input)
    }

    /// Sends an option and looks names up: "disk" is there.
    fn exchange(&mut self, option: u32, data: &[u8]) -> Result<Option<Agreement>, HandshakeError> {
        self.exchange_with(option, data, &ExportInfo::new(1 << 30))
    }

    fn exchange_with(
        &mut self,
        option: u32,
        data: &[u8],
        info: &ExportInfo,
    ) -> Result<Option<Agreement>, HandshakeError> {
        match self.send(option, data)? {
            Step::Find(name) => {
                let found = name.expose() == "disk";
                self.handshake.found(if found { Lookup::Found(info) } else { Lookup::Unknown })
            }
            _ => Ok(None),
        }
    }

    fn replies(&mut self) -> Replies {
        let mut output = self.handshake.take_output();
        let mut replies = Vec::new();
        while output.has_remaining() {
            assert_eq!(output.get_u64(), 0x0003_e889_0455_65a9);
            let (option, kind, len) = (output.get_u32(), output.get_u32(), output.get_u32());
            replies.push((option, kind, output.split_to(len as usize).to_vec()));
        }
        replies
    }

    /// Types of the replies to this option.
    fn kinds(&mut self, option: u32, data: &[u8]) -> Vec<u32> {
        self.exchange(option, data).unwrap();
        let replies = self.replies();
        assert!(replies.iter().all(|(to, ..)| *to == option));
        replies.into_iter().map(|(_, kind, _)| kind).collect()
    }
}

fn put_option(input: &mut BytesMut, option: u32, data: &[u8]) {
    input.put_u64(wire::OPTION_MAGIC);
    input.put_u32(option);
    input.put_u32(data.len() as u32);
    input.put_slice(data);
}

fn go(name: &str, wanted: &[u16]) -> Vec<u8> {
    let mut data = Vec::new();
    data.put_u32(name.len() as u32);
    data.put_slice(name.as_bytes());
    data.put_u16(wanted.len() as u16);
    wanted.iter().for_each(|info| data.put_u16(*info));
    data
}

fn contexts(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = Vec::new();
    data.put_u32(name.len() as u32);
    data.put_slice(name.as_bytes());
    data.put_u32(queries.len() as u32);
    for query in queries {
        data.put_u32(query.len() as u32);
        data.put_slice(query.as_bytes());
    }
    data
}

#[test]
fn go_describes_the_export() {
    let mut client = Client::fixed(TlsMode::Off);
    let agreed = client.exchange(option::GO, &go("disk", &[info::NAME, info::BLOCK_SIZE, 77])).unwrap();
    assert_eq!(agreed, Some(Agreement::default()));
    let replies = client.replies();
    let payload = |n: usize| replies[n].2.as_slice();
    assert_eq!(replies.iter().map(|reply| reply.1).collect::<Vec<_>>(), [3, 3, 3, 1]);
    assert_eq!(payload(0), [0, 3, 0, 0, 0, 1, 0, 0, 16, 0, 2, 0, 0, 0]);
    let flags = flag::HAS_FLAGS
        | flag::SEND_FLUSH
        | flag::SEND_FUA
        | flag::SEND_TRIM
        | flag::SEND_WRITE_ZEROES
        | flag::SEND_CACHE
        | flag::SEND_FAST_ZERO;
    let [high, low] = flags.to_be_bytes();
    assert_eq!(payload(1), [0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, high, low]);
    assert_eq!(payload(2), b"\0\x01disk");
}

#[test]
fn flags_say_what_the_export_offers() {
    let none = ExportInfo {
        read_only: true,
        multi_conn: true,
        rotational: true,
        flush: false,
        fua: false,
        trim: false,
        write_zeroes: false,
        cache: false,
        ..ExportInfo::new(1)
    };
    let extended = Agreement { style: ReplyStyle::Extended, block_status: true };
    let flags = transmission_flags(&none, extended);
    let expected = flag::HAS_FLAGS
        | flag::READ_ONLY
        | flag::ROTATIONAL
        | flag::SEND_DF
        | flag::CAN_MULTI_CONN
        | flag::BLOCK_STATUS_PAYLOAD;
    assert_eq!(flags, expected, "no fast zero without write zeroes");
}

#[test]
fn info_leaves_the_negotiation_open() {
    let mut client = Client::fixed(TlsMode::Off);
    assert_eq!(client.kinds(option::INFO, &go("disk", &[])), [3, 3, 1]);
    assert_eq!(client.kinds(option::INFO, &go("", &[])), [rep::ERR_UNKNOWN]);
    assert_eq!(client.kinds(option::LIST, b""), [rep::ERR_POLICY]);
    assert!(client.exchange(option::GO, &go("disk", &[])).unwrap().is_some());
}

#[test]
fn export_name_is_answered_with_or_without_zeroes() {
    for (flags, len) in [(3, 10), (1, 134), (0, 134), (2, 10)] {
        let mut client = Client::new(TlsMode::Off, flags);
        let agreed = client.exchange(option::EXPORT_NAME, b"disk").unwrap();
        assert_eq!(agreed, Some(Agreement::default()));
        assert_eq!(client.handshake.take_output().len(), len, "client flags {flags}");
    }
    let refused = Client::fixed(TlsMode::Off).exchange(option::EXPORT_NAME, b"other");
    assert_eq!(refused, Err(HandshakeError::NameRefused));
}

#[test]
fn without_fixed_newstyle_there_is_only_export_name() {
    let refused = Client::new(TlsMode::Off, 0).exchange(option::GO, &go("disk", &[]));
    assert_eq!(refused, Err(HandshakeError::NotFixed(option::GO)));
}

#[test]
fn unknown_client_flags_and_magic_hang_up() {
    let mut client = Client::new(TlsMode::Off, 4);
    assert_eq!(client.handshake.advance(&mut client.input), Err(HandshakeError::ClientFlags(4)));
    let mut client = Client::fixed(TlsMode::Off);
    client.input.put_slice(b"GET / HTTP/1.1\r\n");
    assert_eq!(client.handshake.advance(&mut client.input), Err(HandshakeError::Magic));
}

#[test]
fn malformed_options_are_answered_and_the_negotiation_goes_on() {
    let mut client = Client::fixed(TlsMode::Off);
    let long = go(&"x".repeat(4097), &[]);
    let mut surplus = go("disk", &[]);
    surplus.push(0);
    let mut short = contexts("disk", &["base:allocation"]);
    short.truncate(short.len() - 1);
    assert_eq!(client.kinds(option::STRUCTURED_REPLY, b""), [rep::ACK]);
    let cases: &[(u32, &[u8], u32)] = &[
        (99, b"whatever", rep::ERR_UNSUP),
        (4, b"", rep::ERR_UNSUP),
        (option::LIST, b"x", rep::ERR_INVALID),
        (option::STRUCTURED_REPLY, b"x", rep::ERR_INVALID),
        (option::STRUCTURED_REPLY, b"", rep::ERR_INVALID),
        (option::EXTENDED_HEADERS, b"x", rep::ERR_INVALID),
        (option::GO, b"", rep::ERR_INVALID),
        (option::GO, &long, rep::ERR_INVALID),
        (option::GO, &surplus, rep::ERR_INVALID),
        (option::GO, b"\0\0\0\x02\0x\0\0", rep::ERR_INVALID),
        (option::GO, b"\0\0\0\x02\xff\xff\0\0", rep::ERR_INVALID),
        (option::GO, b"\xff\xff\xff\xffdisk\0\0", rep::ERR_INVALID),
        (option::SET_META_CONTEXT, &short, rep::ERR_INVALID),
        (option::SET_META_CONTEXT, b"\0\0\0\0\xff\xff\xff\xff", rep::ERR_INVALID),
        (option::SET_META_CONTEXT, &contexts("disk", &["allocation"]), rep::ERR_INVALID),
        (option::STARTTLS, b"", rep::ERR_POLICY),
        (option::STARTTLS, b"x", rep::ERR_INVALID),
        (option::GO, &vec![0; OPTION_DATA_MAX + 1], rep::ERR_TOO_BIG),
        (option::INFO, &go("disk", &[]), rep::ACK),
    ];
    for (option, data, expected) in cases {
        assert_eq!(client.kinds(*option, data).last(), Some(expected), "option {option}");
    }
}

#[test]
fn too_much_is_hung_up_on() {
    let mut client = Client::fixed(TlsMode::Off);
    put_option(&mut client.input, 99, &vec![0; OPTION_SKIP_MAX + 1]);
    let refused = client.handshake.advance(&mut client.input);
    assert_eq!(refused, Err(HandshakeError::TooBig(OPTION_SKIP_MAX as u32 + 1)));

    let mut client = Client::fixed(TlsMode::Off);
    let ended = (0..=OPTIONS_MAX).find_map(|_| client.exchange(99, b"").err());
    assert_eq!(ended, Some(HandshakeError::TooMany));

    let mut client = Client::fixed(TlsMode::Off);
    let guesses = (0..UNKNOWN_NAMES_MAX + 9)
        .take_while(|n| client.exchange(option::INFO, &go(&n.to_string(), &[])).is_ok())
        .count();
    assert_eq!(guesses, UNKNOWN_NAMES_MAX as usize);
}

#[test]
fn abort_is_acknowledged() {
    for tls in [TlsMode::Off, TlsMode::Optional, TlsMode::Required] {
        let mut client = Client::fixed(tls);
        assert_eq!(client.send(option::ABORT, b"ignored"), Ok(Step::Close));
        assert_eq!(client.replies(), [(option::ABORT, rep::ACK, vec![])]);
    }
}

#[test]
fn before_required_tls_nothing_else_works() {
    let mut client = Client::fixed(TlsMode::Required);
    for option in [option::LIST, option::INFO, option::GO, option::STRUCTURED_REPLY, 99] {
        assert_eq!(client.kinds(option, &go("disk", &[])), [rep::ERR_TLS_REQD]);
    }
    assert_eq!(client.send(option::STARTTLS, b""), Ok(Step::StartTls));
    assert_eq!(client.replies(), [(option::STARTTLS, rep::ACK, vec![])]);
    client.handshake.tls_started();
    assert_eq!(client.kinds(option::STARTTLS, b""), [rep::ERR_INVALID]);
    assert!(client.exchange(option::GO, &go("disk", &[])).unwrap().is_some());

    let refused = Client::fixed(TlsMode::Required).exchange(option::EXPORT_NAME, b"disk");
    assert_eq!(refused, Err(HandshakeError::NameRefused));
}

#[test]
fn tls_voids_what_was_negotiated_in_plain_text() {
    let mut client = Client::fixed(TlsMode::Optional);
    assert_eq!(client.kinds(option::EXTENDED_HEADERS, b""), [rep::ACK]);
    assert_eq!(
        client.kinds(option::SET_META_CONTEXT, &contexts("disk", &["base:allocation"])),
        [rep::META_CONTEXT, rep::ACK]
    );
    client.send(option::STARTTLS, b"").unwrap();
    client.handshake.tls_started();
    client.replies();
    assert_eq!(client.exchange(option::GO, &go("disk", &[])), Ok(Some(Agreement::default())));
}

#[test]
fn text_after_starttls_is_somebody_elses() {
    let mut client = Client::fixed(TlsMode::Optional);
    put_option(&mut client.input, option::STARTTLS, b"");
    put_option(&mut client.input, option::GO, &go("disk", &[]));
    assert_eq!(client.handshake.advance(&mut client.input), Err(HandshakeError::Injected));
}

#[test]
fn contexts_belong_to_their_export() {
    let selected = |style, steps: &[(&str, &[&str])]| {
        let mut client = Client::fixed(TlsMode::Off);
        client.exchange(style, b"").unwrap();
        for (name, queries) in steps {
            client.exchange(option::SET_META_CONTEXT, &contexts(name, queries)).unwrap();
        }
        client.exchange(option::GO, &go("disk", &[])).unwrap().unwrap()
    };
    for (option, style) in
        [(option::STRUCTURED_REPLY, ReplyStyle::Structured), (option::EXTENDED_HEADERS, ReplyStyle::Extended)]
    {
        let agreed = |block_status| Agreement { style, block_status };
        assert_eq!(selected(option, &[("disk", &["base:allocation"])]), agreed(true));
        assert_eq!(selected(option, &[("disk", &["qemu:x", "base:allocation"])]), agreed(true));
        assert_eq!(selected(option, &[("disk", &["base:", "base:other", "x-y:"])]), agreed(false));
        // A later one replaces, also when it fails or is for another export.
        let first = ("disk", &["base:allocation"][..]);
        assert_eq!(selected(option, &[first, ("disk", &[])]), agreed(false));
        assert_eq!(selected(option, &[first, ("other", &["base:allocation"])]), agreed(false));
        assert_eq!(selected(option, &[first, ("disk", &["malformed"])]), agreed(false));
    }
}

#[test]
fn contexts_are_listed_for_those_who_know_the_name() {
    let mut client = Client::fixed(TlsMode::Off);
    let list = option::LIST_META_CONTEXT;
    assert_eq!(client.kinds(list, &contexts("disk", &[])), [rep::ERR_INVALID]);
    assert_eq!(client.kinds(option::STRUCTURED_REPLY, b""), [rep::ACK]);
    for queries in [&[][..], &["base:"], &["base:allocation"], &["qemu:", "base:"]] {
        assert_eq!(client.kinds(list, &contexts("disk", queries)), [rep::META_CONTEXT, rep::ACK]);
    }
    assert_eq!(client.kinds(list, &contexts("disk", &["qemu:"])), [rep::ACK]);
    assert_eq!(client.kinds(list, &contexts("other", &[])), [rep::ERR_UNKNOWN]);
}

#[test]
fn extended_headers_exclude_what_they_replace() {
    let mut client = Client::fixed(TlsMode::Off);
    assert_eq!(client.kinds(option::STRUCTURED_REPLY, b""), [rep::ACK]);
    assert_eq!(client.kinds(option::EXTENDED_HEADERS, b""), [rep::ACK]);
    assert_eq!(client.kinds(option::EXTENDED_HEADERS, b""), [rep::ERR_INVALID]);
    assert_eq!(client.kinds(option::STRUCTURED_REPLY, b""), [rep::ERR_EXT_HEADER_REQD]);
    assert_eq!(client.exchange(option::EXPORT_NAME, b"disk"), Err(HandshakeError::NameRefused));
}

#[test]
fn an_export_with_large_blocks_wants_to_be_asked_for_them() {
    let info = ExportInfo { min_block: 4096, ..ExportInfo::new(1 << 20) };
    let mut client = Client::fixed(TlsMode::Off);
    assert_eq!(client.exchange_with(option::GO, &go("disk", &[]), &info), Ok(None));
    let kinds: Vec<u32> = client.replies().into_iter().map(|(_, kind, _)| kind).collect();
    assert_eq!(kinds, [rep::INFO, rep::ERR_BLOCK_SIZE_REQD]);
    let agreed = client.exchange_with(option::GO, &go("disk", &[info::BLOCK_SIZE]), &info);
    assert!(agreed.unwrap().is_some());
    let refused = Client::fixed(TlsMode::Off).exchange_with(option::EXPORT_NAME, b"disk", &info);
    assert_eq!(refused, Err(HandshakeError::NameRefused));
}

#[test]
fn a_full_or_leaving_server_says_so() {
    let mut client = Client::fixed(TlsMode::Off);
    for (why, expected) in [(Lookup::Full, rep::ERR_POLICY), (Lookup::Shutdown, rep::ERR_SHUTDOWN)] {
        client.send(option::GO, &go("disk", &[])).unwrap();
        assert_eq!(client.handshake.found(why), Ok(None));
        assert_eq!(client.replies()[0].1, expected);
    }
    assert!(client.exchange(option::GO, &go("disk", &[])).unwrap().is_some(), "later there is room");

    let mut client = Client::fixed(TlsMode::Off);
    client.send(option::EXPORT_NAME, b"disk").unwrap();
    assert_eq!(client.handshake.found(Lookup::Full), Err(HandshakeError::NameRefused));
}

#[test]
fn names_are_not_shown() {
    let mut client = Client::fixed(TlsMode::Off);
    client.send(option::GO, &go("hidden", &[])).unwrap();
    assert!(!format!("{:?}", client.handshake).contains("hidden"));
}

/// Runs a negotiation on this input, cut into pieces; every name exists.
fn run(data: &[u8], piece: usize, tls: TlsMode) {
    let mut handshake = Handshake::new(tls);
    let mut input = BytesMut::new();
    for bytes in data.chunks(piece.max(1)) {
        input.put_slice(bytes);
        loop {
            match handshake.advance(&mut input) {
                Ok(Step::NeedInput) => break,
                Ok(Step::Find(_)) => match handshake.found(Lookup::Found(&ExportInfo::new(1 << 30))) {
                    Ok(None) => {}
                    Ok(Some(_)) | Err(_) => return,
                },
                Ok(Step::StartTls) => handshake.tls_started(),
                Ok(Step::Close) | Err(_) => return,
            }
        }
        assert!(input.len() <= OPTION_DATA_MAX + 16 + piece, "input is consumed or refused");
    }
}

fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let data = prop_oneof![
        Just(go("disk", &[info::BLOCK_SIZE])),
        Just(contexts("disk", &["base:allocation", "base:"])),
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    let options = prop::collection::vec((0_u32..13, data), 0..8);
    let mutations = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (options, mutations, any::<prop::sample::Index>()).prop_map(|(options, mutations, cut)| {
        let mut input = BytesMut::new();
        input.put_u32(3);
        for (option, data) in options {
            put_option(&mut input, option, &data);
        }
        for (place, byte) in mutations {
            let place = place.index(input.len());
            input[place] = byte;
        }
        input[..=cut.index(input.len())].to_vec()
    })
}

proptest! {
    #[test]
    fn no_input_makes_it_panic(data in prop::collection::vec(any::<u8>(), 0..300), piece in 1_usize..50) {
        for tls in [TlsMode::Off, TlsMode::Optional, TlsMode::Required] {
            run(&data, piece, tls);
        }
    }

    #[test]
    fn nor_does_any_that_is_nearly_right(data in plausible(), piece in 1_usize..50) {
        for tls in [TlsMode::Off, TlsMode::Optional, TlsMode::Required] {
            run(&data, piece, tls);
        }
    }
}

use terrane_store::{Cursor, Feed, Page, Store, StoreError};
use terrane_types::RandomId;
use tokio::task::JoinSet;

async fn publish(store: &Store, feed: &Feed, text: &str) -> u64 {
    store.transact(|tx| async move { feed.publish(&tx, text.to_string()).await }).await.unwrap()
}

async fn start(store: &Store, feed: &Feed) -> Cursor {
    store.read(|tx| async move { feed.position(store, &tx).await }).await.unwrap()
}

pub(crate) async fn events_come_in_order_and_readers_resume(store: &Store) {
    let (feed, other) = (Feed::new("a"), Feed::new("b"));
    let mut cursor = start(store, &feed).await;
    let mut tasks = JoinSet::new();
    for publisher in 0..4 {
        let (store, feed, other) = (store.clone(), feed.clone(), other.clone());
        tasks.spawn(async move {
            for n in 0..10 {
                publish(&store, &feed, &format!("{publisher}/{n}")).await;
                publish(&store, &other, "noise").await;
            }
        });
    }
    tasks.join_all().await;
    let mut texts = Vec::new();
    // Small pages; each continues behind the one before.
    while let Page::Events(events, next) = feed.read(store, cursor, 7).await.unwrap() {
        if events.is_empty() {
            break;
        }
        for event in events {
            assert_eq!(event.position, texts.len() as u64 + 1);
            texts.push(String::from_utf8(event.payload.to_vec()).unwrap());
        }
        cursor = next;
    }
    assert_eq!(texts.len(), 40);
    for publisher in 0..4 {
        let own: Vec<&String> = texts.iter().filter(|t| t.starts_with(&format!("{publisher}/"))).collect();
        assert!(own.is_sorted(), "{own:?}");
    }
}

pub(crate) async fn trimmed_or_foreign_cursors_resync(store: &Store) {
    let feed = Feed::new("a");
    let origin = start(store, &feed).await;
    for n in 0..20 {
        publish(store, &feed, &n.to_string()).await;
    }
    let feed = &feed;
    let trimmed = store.transact(|tx| async move { feed.trim(&tx, 5).await }).await.unwrap();
    assert_eq!(trimmed, 15);
    assert_eq!(feed.read(store, origin, 10).await.unwrap(), Page::Resync);
    let kept = Cursor { position: 15, ..origin };
    let Page::Events(events, end) = feed.read(store, kept, 10).await.unwrap() else { panic!("resync") };
    assert_eq!(events.iter().map(|event| event.position).collect::<Vec<_>>(), [16, 17, 18, 19, 20]);
    assert_eq!(feed.read(store, end, 10).await.unwrap(), Page::Events(vec![], end));
    let foreign = Cursor { incarnation: RandomId(origin.incarnation.0 ^ 1), ..end };
    assert_eq!(feed.read(store, foreign, 10).await.unwrap(), Page::Resync);
    let future = Cursor { position: 21, ..end };
    assert_eq!(feed.read(store, future, 10).await.unwrap(), Page::Resync);
    assert_eq!(start(store, feed).await, end);
}

pub(crate) async fn waiting_readers_wake(store: &Store) {
    let feed = Feed::new("a");
    let cursor = start(store, &feed).await;
    let reader = {
        let (store, feed) = (store.clone(), feed.clone());
        tokio::spawn(async move { feed.next(&store, cursor, 10).await })
    };
    // Another topic's events do not satisfy the reader.
    publish(store, &Feed::new("b"), "x").await;
    publish(store, &feed, "y").await;
    let page: Result<Page, StoreError> = reader.await.unwrap();
    let Page::Events(events, _) = page.unwrap() else { panic!("resync") };
    assert_eq!(events[0].payload, "y");
}

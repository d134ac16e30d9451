//! The front end over the model behind a socket, for clients that we did not write.
//!
//! Signatures are not verified here (the front door does that): the access key alone says whose call it is. A key
//! that is not known is the first account's.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use terrane_ec2::model::{ATTACHMENTS_MAX, Model, Pace};
use terrane_ec2::service::Caller;
use terrane_ec2::{Call, Ec2, Ec2Config};
use terrane_types::{AccountId, InstanceId, Region};
use tokio::net::TcpListener;

/// The access keys that are known, and whose they are.
pub(crate) const KEYS: [(&str, &str); 2] =
    [("AKIATERRANETEST00001", "111111111111"), ("AKIATERRANETEST00002", "222222222222")];

/// A model with two instances of the first account and one of the second.
pub(crate) struct World {
    pub(crate) ec2: Ec2,
    pub(crate) instances: Vec<InstanceId>,
}

impl World {
    pub(crate) fn new(pace: Pace) -> Self {
        let region = Region::us_east_1();
        let model = Model::new(&region, pace);
        let accounts =
            [KEYS[0].1, KEYS[0].1, KEYS[1].1].map(|id| AccountId::parse(id).expect("twelve digits"));
        let tags = [("Name".to_owned(), "host".to_owned())];
        let instances = accounts.map(|account| model.register(account, tags.clone().into())).into();
        let config = Ec2Config {
            region,
            endpoint: "ec2.us-east-1.example.org".to_owned(),
            attachments_max: u16::try_from(ATTACHMENTS_MAX).expect("a small number"),
        };
        Self { ec2: Ec2::new(Arc::new(model), config), instances }
    }
}

/// Answers connections for as long as the future is polled.
pub(crate) async fn serve(listener: TcpListener, ec2: Ec2) {
    while let Ok((stream, _)) = listener.accept().await {
        let ec2 = ec2.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| answer(ec2.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new();
            // A client that hangs up is no matter here.
            _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// A listener on a free port of the loopback.
pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

async fn answer(ec2: Ec2, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let request_id = "test-request";
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::new(),
    };
    let response = match Call::parse(parts.uri.query(), &body) {
        Err(error) => Ec2::refuse(&error, request_id),
        Ok(call) => {
            let (principal, request_id) = ("test".to_owned(), request_id.to_owned());
            ec2.handle(&Caller { account: account(&parts), principal, request_id }, call).await
        }
    };
    Ok(response.map(Full::new))
}

fn account(parts: &http::request::Parts) -> AccountId {
    let credential =
        parts.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let known = KEYS.iter().find(|(key, _)| credential.contains(key));
    AccountId::parse(known.unwrap_or(&KEYS[0]).1).expect("twelve digits")
}

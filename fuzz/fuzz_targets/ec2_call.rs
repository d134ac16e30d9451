//! An EC2 request: read, handled by the model, answered by a document.
#![no_main]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use terrane_ec2::model::{Model, Pace};
use terrane_ec2::service::Caller;
use terrane_ec2::{Call, Ec2, Ec2Config};
use terrane_types::{AccountId, Region};

fuzz_target!(|data: &[u8]| {
    let Ok(call) = Call::parse(None, data) else { return };
    let region = Region::us_east_1();
    let model = Model::new(&region, Pace::AtOnce);
    model.register(AccountId::root(), Default::default());
    let config = Ec2Config { region, endpoint: "localhost".into(), attachments_max: 1 };
    let ec2 = Ec2::new(Arc::new(model), config);
    let caller =
        Caller { account: AccountId::root(), principal: "root".into(), request_id: "r".into() };
    // The model waits for nothing.
    let answer = pin!(ec2.handle(&caller, call));
    let Poll::Ready(answer) = answer.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("the model waits");
    };
    assert!(answer.body().starts_with(b"<?xml"));
    assert!(answer.status() != 500);
});

//! Serves the model on a free port until it is killed, for trying clients by hand and for moto's tests (README).

#[path = "../tests/it/server.rs"]
mod server;

use terrane_ec2::model::Pace;

#[tokio::main]
async fn main() {
    let world = server::World::new(Pace::AtOnce);
    let (listener, address) = server::listen().await;
    println!(
        "AWS_ENDPOINT_URL=http://{address} AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY=any",
        server::KEYS[0].0
    );
    for instance in &world.instances {
        println!("instance {instance}");
    }
    server::serve(listener, world.ec2).await;
}

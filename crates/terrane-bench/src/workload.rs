//! What the clients do: the loads of `cargo xtask bench objects`.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::client::{Client, Endpoint, Headers};
use crate::connection::Response;
use crate::load::{Report, Shape, drive};
use crate::sign::Credentials;

/// Against whom, and where.
#[derive(Debug, Clone)]
pub struct Target {
    /// The server.
    pub endpoint: Endpoint,
    /// Who asks.
    pub credentials: Credentials,
    /// The bucket (made if it is missing).
    pub bucket: String,
    /// What every key begins with.
    pub prefix: String,
}

/// The key of a running number: neighbours in time are not neighbours in the key space.
pub fn key(prefix: &str, number: u64) -> String {
    let scrambled = (number as u32).wrapping_mul(0x9E37_79B1);
    format!("{prefix}{scrambled:08x}")
}

/// A body that tells whose it is: the number, then filler.
pub fn fill_body(body: &mut [u8], number: u64) {
    if let Some(head) = body.get_mut(..8) {
        head.copy_from_slice(&number.to_le_bytes());
    }
}

fn is_body_of(body: &[u8], size: usize, number: u64) -> bool {
    body.len() == size && (size < 8 || body.starts_with(&number.to_le_bytes()))
}

/// `Ok(units)`, or status and code of an error answer.
fn outcome(answer: Result<Response>, units: u64) -> Result<u64, String> {
    let answer = answer.map_err(|e| format!("connection: {e}"))?;
    if answer.is_success() {
        return Ok(units);
    }
    let xml = answer.text();
    let code = crate::client::elements(&xml, "Code").next().unwrap_or_default();
    Err(format!("{} {code}", answer.status))
}

impl Target {
    /// A client with a connection of its own.
    pub fn client(&self) -> Client {
        Client::new(&self.endpoint, &self.credentials)
    }

    /// Puts objects of `size` bytes, numbered from `first`.
    pub fn put(&self, shape: &Shape, first: u64, size: usize, headers: Headers<'_>) -> Report {
        drive(
            shape,
            |_| (self.client(), vec![0x5a_u8; size]),
            |(client, body), number| {
                let number = first + number;
                fill_body(body, number);
                outcome(client.put(&self.bucket, &key(&self.prefix, number), headers, body), 1)
            },
        )
    }

    /// Gets objects that [`put`](Self::put) has put, numbered below `population`, in a scattered order, and
    /// checks them.
    pub fn get(&self, shape: &Shape, population: u64, size: usize) -> Report {
        drive(
            shape,
            |_| self.client(),
            |client, number| {
                let number = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % population;
                let answer = client.get(&self.bucket, &key(&self.prefix, number));
                let wrong = answer
                    .as_ref()
                    .is_ok_and(|answer| answer.is_success() && !is_body_of(&answer.body, size, number));
                if wrong { Err("wrong body".into()) } else { outcome(answer, 1) }
            },
        )
    }

    /// Lists everything with the prefix again and again, each client from its own place in the key space.
    pub fn list(&self, shape: &Shape) -> Report {
        drive(
            shape,
            |id| (self.client(), format!("{}{:02x}", self.prefix, id * 256 / shape.clients), None),
            |(client, start, token): &mut (Client, String, Option<String>), _| {
                let page = client
                    .list(&self.bucket, &self.prefix, start, token.as_deref())
                    .map_err(|e| format!("{e:#}"))?;
                *token = page.next;
                if token.is_none() {
                    start.clear();
                }
                Ok(page.keys.len() as u64)
            },
        )
    }

    /// Lists everything once and returns how many keys there are, which must ascend.
    ///
    /// # Errors
    /// If a page cannot be had or a key is out of order.
    pub fn count(&self) -> Result<u64> {
        let mut client = self.client();
        let (mut total, mut last, mut token) = (0, String::new(), None);
        loop {
            let page = client.list(&self.bucket, &self.prefix, "", token.as_deref())?;
            for key in page.keys {
                ensure!(key > last, "{key:?} is listed after {last:?}");
                last = key;
                total += 1;
            }
            token = page.next;
            if token.is_none() {
                return Ok(total);
            }
        }
    }

    /// Puts at a rate while one more client checks that what was acknowledged is read and listed.
    pub fn burst(&self, shape: &Shape, first: u64, size: usize) -> Burst {
        let acknowledged = Mutex::new(Vec::<u64>::new());
        let running = std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|scope| {
            let checker = scope.spawn(|| {
                let mut checks = Checks::default();
                let mut client = self.client();
                let mut turn = 0_usize;
                while running.load(std::sync::atomic::Ordering::Acquire) {
                    let number = {
                        let known = acknowledged.lock().expect("a writer panicked");
                        // Alternately the newest, where a lag would show, and an older one.
                        turn += 1;
                        let index = if turn.is_multiple_of(2) {
                            known.len().checked_sub(1)
                        } else {
                            turn.wrapping_mul(0x9E37_79B1).checked_rem(known.len())
                        };
                        index.and_then(|index| known.get(index).copied())
                    };
                    match number {
                        Some(number) => self.check(&mut client, number, size, &mut checks),
                        None => std::thread::sleep(Duration::from_millis(1)),
                    }
                }
                checks
            });
            let puts = drive(
                shape,
                |_| (self.client(), vec![0x5a_u8; size]),
                |(client, body), number| {
                    let number = first + number;
                    fill_body(body, number);
                    let done = outcome(client.put(&self.bucket, &key(&self.prefix, number), &[], body), 1);
                    if done.is_ok() {
                        acknowledged.lock().expect("the checker panicked").push(number);
                    }
                    done
                },
            );
            running.store(false, std::sync::atomic::Ordering::Release);
            Burst { puts, checks: checker.join().expect("the checker panicked") }
        })
    }

    fn check(&self, client: &mut Client, number: u64, size: usize, checks: &mut Checks) {
        let key = key(&self.prefix, number);
        let read = client.get(&self.bucket, &key);
        match read {
            Ok(answer) if answer.is_success() && is_body_of(&answer.body, size, number) => checks.gets += 1,
            Ok(answer) => checks.wrong.push(format!("GET {key}: {}", answer.status)),
            Err(e) => checks.wrong.push(format!("GET {key}: {e:#}")),
        }
        match client.list(&self.bucket, &key, "", None) {
            Ok(page) if page.keys == [key.as_str()] => checks.lists += 1,
            Ok(page) => checks.wrong.push(format!("LIST {key}: {} keys", page.keys.len())),
            Err(e) => checks.wrong.push(format!("LIST {key}: {e:#}")),
        }
    }

    /// Puts `count` objects of `size` bytes one after the other; units are bytes.
    pub fn put_large(&self, shape: &Shape, size: usize) -> Report {
        let body: Vec<u8> = (0..size).map(|at| (at.wrapping_mul(0x9E37_79B1) >> 13) as u8).collect();
        drive(
            shape,
            |_| self.client(),
            |client, number| {
                let answer = client.put(&self.bucket, &format!("{}{number}", self.prefix), &[], &body);
                outcome(answer, size as u64)
            },
        )
    }

    /// Gets what [`put_large`](Self::put_large) has put, in a circle of `population`; units are bytes.
    pub fn get_large(&self, shape: &Shape, population: u64) -> Report {
        drive(
            shape,
            |_| self.client(),
            |client, number| {
                let mut bytes = 0;
                let key = format!("{}{}", self.prefix, number % population);
                let answer = client.get_into(&self.bucket, &key, &mut |part| bytes += part.len() as u64);
                outcome(answer, 0).map(|_| bytes)
            },
        )
    }
}

/// What came of a burst.
#[derive(Debug, Serialize, Deserialize)]
pub struct Burst {
    /// The writers.
    pub puts: Report,
    /// The reader beside them.
    pub checks: Checks,
}

/// What a reader found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Checks {
    /// Objects read that were right.
    pub gets: u64,
    /// Listings that were right.
    pub lists: u64,
    /// Everything that was not.
    pub wrong: Vec<String>,
}

/// MD5 of `bytes` bytes on one core, in bytes per second: what an ETag costs at least.
pub fn md5_rate(bytes: usize) -> f64 {
    let data = vec![0x5a_u8; 1 << 20];
    let began = Instant::now();
    let mut md5 = Md5::new();
    let mut left = bytes;
    while left > 0 {
        let part = left.min(data.len());
        md5.update(&data[..part]);
        left -= part;
    }
    std::hint::black_box(md5.finalize());
    bytes as f64 / began.elapsed().as_secs_f64()
}

/// Waits until the server answers a signed request at all.
///
/// # Errors
/// If it has not when the time is over.
pub fn wait_until_ready(target: &Target, within: Duration) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let asked = target.client().request("GET", "/", "", &[], b"");
        match asked {
            Ok(answer) if answer.is_success() => return Ok(began.elapsed()),
            other if began.elapsed() > within => {
                return other.map(|_| ()).and(Err(anyhow::anyhow!("no answer"))).context("not ready in time");
            }
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_different_numbers_differ() {
        let mut keys: Vec<String> = (0..10_000).map(|number| key("p/", number)).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 10_000);
    }

    #[test]
    fn bodies_tell_whose_they_are() {
        let mut body = vec![0; 4096];
        fill_body(&mut body, 7);
        assert!(is_body_of(&body, 4096, 7));
        assert!(!is_body_of(&body, 4096, 8));
        assert!(!is_body_of(&body[..4000], 4096, 7));
    }
}

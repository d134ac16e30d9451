//! One HTTP/1.1 connection, blocking, kept open, with its buffers reused.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long an answer may keep us waiting.
const TIMEOUT: Duration = Duration::from_secs(120);

/// An answer whose body was read.
#[derive(Debug, Default, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Status line and headers as received.
    pub head: String,
    /// The body (empty if it went to a sink).
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name (any case), without surrounding white space.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// A connection that reconnects after the server closed it.
#[derive(Debug)]
pub struct Connection {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    /// Bytes received and not yet consumed are `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Connection {
    /// Connects at the first exchange.
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, stream: None, buffer: vec![0; 256 * 1024], start: 0, end: 0 }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// Of the socket, or if the answer is not HTTP/1.1.
    pub fn exchange(&mut self, head: &[u8], body: &[u8], has_body: bool) -> io::Result<Response> {
        let mut bytes = Vec::new();
        let mut response =
            self.exchange_into(head, body, has_body, &mut |part| bytes.extend_from_slice(part))?;
        response.body = bytes;
        Ok(response)
    }

    /// Like [`exchange`](Self::exchange), handing the body on piece by piece.
    ///
    /// # Errors
    /// Of the socket, or if the answer is not HTTP/1.1.
    pub fn exchange_into(
        &mut self,
        head: &[u8],
        body: &[u8],
        has_body: bool,
        sink: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Response> {
        let result = self.try_exchange(head, body, has_body, sink);
        if result.as_ref().map_or(true, |response| {
            response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
        }) {
            self.stream = None;
        }
        result
    }

    fn try_exchange(
        &mut self,
        head: &[u8],
        body: &[u8],
        has_body: bool,
        sink: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Response> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.addr)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            self.stream = Some(stream);
            (self.start, self.end) = (0, 0);
        }
        let stream = self.stream.as_mut().ok_or_else(|| io::Error::other("not connected"))?;
        let sent = if body.len() <= 64 * 1024 {
            // One packet, one system call.
            stream.write_all(&[head, body].concat())
        } else {
            stream.write_all(head).and_then(|()| stream.write_all(body))
        };
        // A server may refuse before it has read everything: its answer counts, then the connection is over.
        let refused_early = sent.is_err();
        let head = self.read_head().map_err(|e| sent.err().unwrap_or(e))?;
        let status = status(&head)?;
        if has_body && status != 204 && status != 304 {
            self.read_body(&head, sink)?;
        }
        if refused_early {
            self.stream = None;
        }
        Ok(Response { status, head, body: Vec::new() })
    }

    /// Reads more bytes behind those that are there.
    fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let stream = self.stream.as_mut().ok_or_else(|| io::Error::other("not connected"))?;
        match stream.read(&mut self.buffer[self.end..])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }

    fn read_head(&mut self) -> io::Result<String> {
        loop {
            let head = self.until(b"\r\n\r\n")?;
            // `100 Continue` and its kin are followed by the answer proper.
            if (100..200).contains(&status(&head)?) {
                continue;
            }
            return Ok(head);
        }
    }

    /// Consumes up to and including `mark`.
    fn until(&mut self, mark: &[u8]) -> io::Result<String> {
        loop {
            let waiting = &self.buffer[self.start..self.end];
            if let Some(at) = waiting.windows(mark.len()).position(|window| window == mark) {
                let text = String::from_utf8_lossy(&waiting[..at + mark.len()]).into_owned();
                self.start += at + mark.len();
                return Ok(text);
            }
            if waiting.len() > HEAD_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer's head has no end"));
            }
            self.fill()?;
        }
    }

    fn read_body(&mut self, head: &str, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "the answer's length cannot be read");
        if header(head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            loop {
                let line = self.until(b"\r\n")?;
                let size = line.trim().split(';').next().unwrap_or_default();
                let size = u64::from_str_radix(size, 16).map_err(|_| invalid())?;
                self.pass(size, sink)?;
                self.until(b"\r\n")?;
                if size == 0 {
                    return Ok(());
                }
            }
        }
        let length =
            header(head, "content-length").map_or(Ok(0), |value| value.parse().map_err(|_| invalid()))?;
        self.pass(length, sink)
    }

    /// Hands `left` bytes to the sink.
    fn pass(&mut self, mut left: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        while left > 0 {
            if self.start == self.end {
                self.fill()?;
            }
            let count = (self.end - self.start).min(usize::try_from(left).unwrap_or(usize::MAX));
            sink(&self.buffer[self.start..self.start + count]);
            self.start += count;
            left -= count as u64;
        }
        Ok(())
    }
}

fn status(head: &str) -> io::Result<u16> {
    head.split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP/1.1"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that gives one prepared answer in two pieces.
    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).unwrap() > 0);
            let (one, two) = answer.split_at(answer.len() / 2);
            stream.write_all(one.as_bytes()).unwrap();
            stream.flush().unwrap();
            stream.write_all(two.as_bytes()).unwrap();
        });
        addr
    }

    fn ask(answer: &'static str) -> io::Result<Response> {
        Connection::new(answering(answer)).exchange(b"GET / HTTP/1.1\r\n\r\n", b"", true)
    }

    #[test]
    fn bodies_of_both_framings() {
        let plain = ask("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A:  b \r\n\r\nhello").unwrap();
        assert_eq!((plain.status, plain.text().as_str(), plain.header("x-a")), (200, "hello", Some("b")));
        let chunked =
            ask("HTTP/1.1 404 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n");
        assert_eq!(chunked.unwrap().text(), "hello");
        let continued = ask("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\n\r\n").unwrap();
        assert_eq!(continued.status, 204);
    }

    #[test]
    fn broken_answers_are_errors() {
        for broken in [
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert!(ask(broken).is_err(), "{broken:?}");
        }
    }
}

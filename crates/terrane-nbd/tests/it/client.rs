//! A client that can do everything wrong.

use terrane_nbd::{ExportTable, Peer, PeerAddress, SecretName, Server, ServerConfig};

use std::sync::Arc;

use bytes::BufMut;
use terrane_nbd::handshake::{ReplyStyle, TlsMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const READ: u16 = 0;
pub(crate) const WRITE: u16 = 1;
pub(crate) const DISC: u16 = 2;
pub(crate) const FLUSH: u16 = 3;
pub(crate) const BLOCK_STATUS: u16 = 7;

pub(crate) const GO: u32 = 7;
pub(crate) const INFO: u32 = 6;

/// What `serve_connection` returned.
pub(crate) type Ended = Result<(), terrane_nbd::ConnectionError>;

/// A connection to a server in this process, over a pipe.
pub(crate) struct Client {
    pub(crate) stream: DuplexStream,
    pub(crate) style: ReplyStyle,
    pub(crate) served: JoinHandle<Ended>,
    pub(crate) stop: CancellationToken,
}

/// A reply, or one chunk of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) cookie: u64,
    /// Error of a simple reply, or type of a chunk.
    pub(crate) kind: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn server(exports: Arc<ExportTable>, config: ServerConfig) -> Arc<Server> {
    Arc::new(Server::new(exports, config))
}

/// A server with one export, named "disk".
pub(crate) fn server_of(export: Arc<dyn terrane_nbd::Export>, config: ServerConfig) -> Arc<Server> {
    let exports = Arc::new(ExportTable::new());
    exports.insert(&SecretName::new("disk"), export);
    server(exports, config)
}

impl Client {
    /// Connects and reads the greeting. The pipe holds `buffer` bytes in each direction.
    pub(crate) async fn connect(server: &Arc<Server>, buffer: usize) -> Self {
        let (mut stream, theirs) = tokio::io::duplex(buffer);
        let stop = CancellationToken::new();
        let (server, stopped) = (server.clone(), stop.clone());
        let peer = Peer { address: PeerAddress::Unix { uid: 1 }, certificate: None };
        let served =
            tokio::spawn(async move { server.serve_connection(theirs, peer, TlsMode::Off, &stopped).await });
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(greeting, *b"NBDMAGICIHAVEOPT\0\x03");
        stream.write_u32(3).await.unwrap();
        Self { stream, style: ReplyStyle::Simple, served, stop }
    }

    /// Connects and negotiates up to the transmission phase with "disk".
    pub(crate) async fn transmitting(server: &Arc<Server>, style: ReplyStyle, buffer: usize) -> Self {
        let mut client = Self::connect(server, buffer).await;
        let option = match style {
            ReplyStyle::Simple => None,
            ReplyStyle::Structured => Some(8),
            ReplyStyle::Extended => Some(11),
        };
        if let Some(option) = option {
            assert_eq!(client.option(option, b"").await, 1);
            assert_eq!(client.option(10, b"\0\0\0\x04disk\0\0\0\x01\0\0\0\x0fbase:allocation").await, 1);
        }
        assert_eq!(client.option(GO, b"\0\0\0\x04disk\0\x01\0\x03").await, 1);
        client.style = style;
        client
    }

    /// Sends an option and returns the type of its last reply.
    pub(crate) async fn option(&mut self, option: u32, data: &[u8]) -> u32 {
        self.send_option(option, data).await;
        loop {
            let kind = self.option_reply(option).await;
            if kind == 1 || kind >> 31 == 1 {
                return kind;
            }
        }
    }

    pub(crate) async fn send_option(&mut self, option: u32, data: &[u8]) {
        let mut message = b"IHAVEOPT".to_vec();
        message.put_u32(option);
        message.put_u32(data.len() as u32);
        message.put_slice(data);
        self.stream.write_all(&message).await.unwrap();
    }

    async fn option_reply(&mut self, option: u32) -> u32 {
        assert_eq!(self.stream.read_u64().await.unwrap(), 0x0003_e889_0455_65a9);
        assert_eq!(self.stream.read_u32().await.unwrap(), option);
        let kind = self.stream.read_u32().await.unwrap();
        let mut data = vec![0; self.stream.read_u32().await.unwrap() as usize];
        self.stream.read_exact(&mut data).await.unwrap();
        kind
    }

    /// Bytes of a request, whose cookie is a number that the reply repeats.
    pub(crate) fn request(&self, command: u16, cookie: u64, offset: u64, len: u64) -> Vec<u8> {
        let extended = self.style == ReplyStyle::Extended;
        let mut message = Vec::new();
        message.put_u32(if extended { 0x21e4_1c71 } else { 0x2560_9513 });
        message.put_u16(if extended && command == WRITE { 1 << 5 } else { 0 });
        message.put_u16(command);
        message.put_u64(cookie);
        message.put_u64(offset);
        if extended {
            message.put_u64(len);
        } else {
            message.put_u32(len as u32);
        }
        message
    }

    pub(crate) async fn send(&mut self, command: u16, cookie: u64, offset: u64, len: u64) {
        let message = self.request(command, cookie, offset, len);
        self.stream.write_all(&message).await.unwrap();
    }

    pub(crate) async fn send_write(&mut self, cookie: u64, offset: u64, data: &[u8]) {
        let mut message = self.request(WRITE, cookie, offset, data.len() as u64);
        message.extend_from_slice(data);
        self.stream.write_all(&message).await.unwrap();
    }

    /// The next reply without payload, or chunk with its payload.
    pub(crate) async fn reply(&mut self) -> Reply {
        self.reply_with(0).await
    }

    /// The next reply; a simple one without error has so many bytes of payload.
    pub(crate) async fn reply_with(&mut self, len: usize) -> Reply {
        let magic = self.stream.read_u32().await.unwrap();
        match self.style {
            ReplyStyle::Simple => {
                assert_eq!(magic, 0x6744_6698);
                let kind = self.stream.read_u32().await.unwrap();
                let cookie = self.stream.read_u64().await.unwrap();
                let payload = self.payload(if kind == 0 { len } else { 0 }).await;
                Reply { cookie, kind, payload }
            }
            style => {
                let extended = style == ReplyStyle::Extended;
                assert_eq!(magic, if extended { 0x6e8a_278c } else { 0x668e_33ef });
                let _flags = self.stream.read_u16().await.unwrap();
                let kind = self.stream.read_u16().await.unwrap().into();
                let cookie = self.stream.read_u64().await.unwrap();
                let len = if extended {
                    let _offset = self.stream.read_u64().await.unwrap();
                    self.stream.read_u64().await.unwrap() as usize
                } else {
                    self.stream.read_u32().await.unwrap() as usize
                };
                Reply { cookie, kind, payload: self.payload(len).await }
            }
        }
    }

    async fn payload(&mut self, len: usize) -> Vec<u8> {
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).await.unwrap();
        payload
    }

    /// Waits until the server has closed, and says how it ended.
    pub(crate) async fn ended(mut self) -> Ended {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{} bytes nobody asked for", rest.len());
        drop(self.stream);
        self.served.await.unwrap()
    }
}

//! Listening: connections, their bounds, HTTPS, and a graceful end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::Body;
use crate::metrics::FrontMetrics;
use crate::tls::Tls;

/// Bounds on connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Connections served at once; at the bound new ones wait in the listener's backlog.
    pub connections_max: usize,
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    /// Header lines of a request.
    pub headers_max: usize,
    /// A request's head must have arrived so long after its connection became idle.
    pub head_timeout: Duration,
    /// A TLS handshake may take so long.
    pub handshake_timeout: Duration,
    /// How often certificate files are looked at.
    pub certificate_check: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            connections_max: 8192,
            head_bytes_max: 64 << 10,
            headers_max: 256,
            head_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            certificate_check: Duration::from_secs(5),
        }
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    /// Whether it came over TLS.
    pub secure: bool,
}

/// Answers requests.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request.
    fn handle(&self, peer: Peer, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>>;
}

/// A running listener.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    connections: TaskTracker,
    /// No more connections; those that are idle end, the others after their answer.
    drain: CancellationToken,
    /// Everything ends.
    abort: CancellationToken,
}

impl Server {
    /// Serves what a listener accepts, with HTTPS if a certificate is given.
    pub fn start<H: Handler>(
        listener: TcpListener,
        tls: Option<Arc<Tls>>,
        config: ServerConfig,
        metrics: FrontMetrics,
        handler: H,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let server = Self {
            address,
            connections: TaskTracker::new(),
            drain: CancellationToken::new(),
            abort: CancellationToken::new(),
        };
        if let Some(tls) = &tls {
            let watch = watch_certificate(tls.clone(), config.certificate_check);
            tokio::spawn(server.drain.clone().run_until_cancelled_owned(watch));
        }
        let acceptor = Acceptor {
            slots: Arc::new(Semaphore::new(config.connections_max)),
            tls: tls.map(|tls| TlsAcceptor::from(tls.config())),
            config: Arc::new(config),
            metrics,
            connections: server.connections.clone(),
            drain: server.drain.clone(),
            abort: server.abort.clone(),
            handler,
        };
        tokio::spawn(server.drain.clone().run_until_cancelled_owned(acceptor.run(listener)));
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more, lets requests in progress finish for so long, then cuts what is left.
    /// `true` if nothing had to be cut.
    pub async fn stop(&self, patience: Duration) -> bool {
        self.drain.cancel();
        self.connections.close();
        let graceful = tokio::time::timeout(patience, self.connections.wait()).await.is_ok();
        self.abort.cancel();
        self.connections.wait().await;
        graceful
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.drain.cancel();
        self.abort.cancel();
    }
}

async fn watch_certificate(tls: Arc<Tls>, period: Duration) {
    let mut seen = tls.stamp();
    loop {
        tokio::time::sleep(period).await;
        let stamp = tls.stamp();
        if stamp != seen {
            // Certificate and key are two files: a pair that does not fit yet is looked at again next time.
            match tls.reload() {
                Ok(()) => {
                    tracing::info!("certificate replaced");
                    seen = stamp;
                }
                Err(error) => tracing::warn!(%error, "new certificate not taken, the old one stays in use"),
            }
        }
    }
}

struct Acceptor<H> {
    slots: Arc<Semaphore>,
    tls: Option<TlsAcceptor>,
    config: Arc<ServerConfig>,
    metrics: FrontMetrics,
    connections: TaskTracker,
    drain: CancellationToken,
    abort: CancellationToken,
    handler: H,
}

impl<H: Handler> Acceptor<H> {
    async fn run(self, listener: TcpListener) {
        loop {
            let Ok(slot) = self.slots.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => self.spawn(stream, peer, slot),
                Err(error) => {
                    // Of the whole process (no descriptors left) or of one connection (reset before it was accepted).
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn spawn(&self, stream: TcpStream, peer: SocketAddr, slot: OwnedSemaphorePermit) {
        let connection = Connection {
            config: self.config.clone(),
            metrics: self.metrics.clone(),
            drain: self.drain.clone(),
            handler: self.handler.clone(),
            peer: Peer { address: peer, secure: self.tls.is_some() },
        };
        let tls = self.tls.clone();
        let serve = async move {
            let _slot = slot;
            connection.metrics.connections.inc();
            if let Err(error) = connection.serve(stream, tls).await {
                tracing::debug!(%peer, %error, "connection ended");
            }
            connection.metrics.connections.dec();
        };
        self.connections.spawn(self.abort.clone().run_until_cancelled_owned(serve));
    }
}

#[derive(Clone)]
struct Connection<H> {
    config: Arc<ServerConfig>,
    metrics: FrontMetrics,
    drain: CancellationToken,
    handler: H,
    peer: Peer,
}

#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("handshake: {0}")]
    Handshake(#[from] io::Error),
    #[error("handshake took too long")]
    HandshakeTimeout(#[from] tokio::time::error::Elapsed),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

impl<H: Handler> Connection<H> {
    async fn serve(&self, stream: TcpStream, tls: Option<TlsAcceptor>) -> Result<(), ConnectionError> {
        stream.set_nodelay(true)?;
        let Some(tls) = tls else { return self.serve_http(stream, self.clone()).await };
        let patience = self.config.handshake_timeout;
        let mut first = [0];
        tokio::time::timeout(patience, stream.peek(&mut first)).await??;
        // A TLS record of a handshake begins with 0x16, no HTTP method does.
        if first != [0x16] {
            return self.serve_http(stream, WrongScheme).await;
        }
        let stream = tokio::time::timeout(patience, tls.accept(stream)).await??;
        self.serve_http(stream, self.clone()).await
    }

    async fn serve_http<S, V>(&self, stream: S, service: V) -> Result<(), ConnectionError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
        V: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // A client that has said all may close its side and still read the answer (RFC 9112, section 9.6).
            .half_close(true)
            .header_read_timeout(self.config.head_timeout)
            .max_header_size(self.config.head_bytes_max)
            .max_headers(self.config.headers_max)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return Ok(ended?),
            () = self.drain.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    }
}

impl<H: Handler> Service<Request<Incoming>> for Connection<H> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = futures::future::Map<
        BoxFuture<'static, Response<Body>>,
        fn(Response<Body>) -> Result<Response<Body>, Infallible>,
    >;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        futures::FutureExt::map(self.handler.handle(self.peer, request), Ok)
    }
}

/// Answers plain HTTP on a port that speaks HTTPS.
struct WrongScheme;

impl Service<Request<Incoming>> for WrongScheme {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn call(&self, _: Request<Incoming>) -> Self::Future {
        let mut response = Response::new(Body::whole("This port speaks HTTPS only: use https://\n"));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        std::future::ready(Ok(response))
    }
}

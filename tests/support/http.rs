//! The HTTP/1.1 plumbing under the stand-ins: a server on a free loopback port that ends with its owner.

use std::{
    convert::Infallible,
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// What a handler gives back: a response whose body is known.
pub type Reply = Response<Full<Bytes>>;

/// An HTTP server on 127.0.0.1 with keep-alive and TCP_NODELAY. Dropping it ends every connection.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Starts a server on a free port that answers every request by `handler`.
    ///
    /// A handler may stay pending for as long as it likes: its future is dropped when the client hangs up.
    pub async fn start<H, F>(handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port on 127.0.0.1");
        let address = listener.local_addr().expect("the listener is bound");
        Self { address, accepting: tokio::spawn(accept(listener, handler)) }
    }

    /// The address clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The accept loop owns the connections' tasks, so they end with it.
        self.accepting.abort();
    }
}

async fn accept<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(serve(stream, handler.clone()));
            }
            // Finished connections are joined as they end, or the set would only ever grow.
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve<H, F>(stream: TcpStream, handler: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Reply>,
{
    // Nagle's algorithm would add up to 40 ms to answers of two small writes. A socket that refuses is already dead.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let reply = handler(request);
        async { Ok::<_, Infallible>(reply.await) }
    });
    // A client that breaks off is part of the play; it has nobody to be reported to.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// A reply of `status` whose body is `body`.
pub fn reply(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Reply {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Full::new(body.into()))
        .expect("status and content type are valid")
}

/// A reply of `status` with `body` as JSON.
pub fn json_reply(status: StatusCode, body: &serde_json::Value) -> Reply {
    reply(status, "application/json", body.to_string())
}

/// The whole body, or nothing when the client broke off in the middle of it.
pub async fn whole_body(body: Incoming) -> Option<Bytes> {
    Some(body.collect().await.ok()?.to_bytes())
}

/// One header as text; empty when it is missing or not text.
pub fn header<'r, B>(request: &'r Request<B>, name: &str) -> &'r str {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Locks `mutex` even when a panicking test poisoned it: what comes after is cleaning up.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

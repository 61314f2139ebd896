//! Tests what a server does when a client closes its side after a request.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{USER_AGENT, connection::RequestOptions};

/// How long to wait for the server's close.
const CLOSE: Duration = Duration::from_secs(5);

/// What a server does when a client closes its side after a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HalfClose {
    /// It responds and closes.
    AnswersAndCloses,
    /// It responds and leaves its side open.
    AnswersAndStaysOpen,
    /// It closes without a response.
    ClosesWithoutAnswer,
    /// It does neither.
    StaysOpenWithoutAnswer,
}

impl HalfClose {
    /// A description.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::AnswersAndCloses => "responds and closes",
            Self::AnswersAndStaysOpen => {
                "responds, but does not close its side: each client that half-closes leaves a half-closed connection"
            }
            Self::ClosesWithoutAnswer => "closes without a response",
            Self::StaysOpenWithoutAnswer => {
                "neither responds nor closes: each client that half-closes leaves a half-closed connection"
            }
        }
    }
}

/// Sends a request on a new connection, closes the client's side, and waits for the server.
///
/// # Errors
///
/// Returns an error if the request cannot be sent.
pub async fn half_close(
    mut stream: TcpStream,
    request_options: &RequestOptions,
) -> std::io::Result<HalfClose> {
    let (path, host) = (&request_options.path, &request_options.host);
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.shutdown().await?;
    let mut answered = false;
    let mut buffer = vec![0; 16 << 10];
    let closes = timeout(CLOSE, async {
        // A reset counts as a close.
        while let Ok(1..) = stream.read(&mut buffer).await {
            answered = true;
        }
    });
    let closes = closes.await.is_ok();
    Ok(match (answered, closes) {
        (true, true) => HalfClose::AnswersAndCloses,
        (true, false) => HalfClose::AnswersAndStaysOpen,
        (false, true) => HalfClose::ClosesWithoutAnswer,
        (false, false) => HalfClose::StaysOpenWithoutAnswer,
    })
}

//! What a server does when a client closes its side after a request.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{USER_AGENT, connection::RequestOptions};

/// The longest wait for the server's close, after which it counts as one that does not.
const CLOSE: Duration = Duration::from_secs(5);

/// What a server does when a client closes its side after a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HalfClose {
    /// It answers, and closes.
    AnswersAndCloses,
    /// It answers, and leaves its side open.
    AnswersAndStaysOpen,
    /// It closes without an answer.
    ClosesWithoutAnswer,
    /// It does neither.
    StaysOpenWithoutAnswer,
}

impl HalfClose {
    /// It in words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::AnswersAndCloses => "answers and closes",
            Self::AnswersAndStaysOpen => {
                "answers, and leaves its side open: each such client leaves a half-closed connection behind"
            }
            Self::ClosesWithoutAnswer => "closes without an answer",
            Self::StaysOpenWithoutAnswer => {
                "neither answers nor closes: each such client leaves a half-closed connection behind"
            }
        }
    }
}

/// Sends a request over a new connection, closes the client's side, and watches.
///
/// # Errors
///
/// When the request cannot be sent.
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
        // A reset is a close too.
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

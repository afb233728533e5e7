//! The HTTP API (`protocol.md` §1).

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use obsync_core::retry::RetryPolicy;
use obsync_proto::host::is_loopback;
use obsync_proto::wire::api::{self as wire, AnswerError, Call, SignIn};
use obsync_proto::wire::{limits, to_json};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, redirect};
use secrecy::zeroize::Zeroizing;

use crate::tls::{self, Roots};

/// How the API is reached.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// `https://…`, or `http://…` on loopback.
    pub base: String,
    /// Sent with every request: without one the service takes a caller for an attacker.
    pub user_agent: String,
    /// For name, TCP and TLS together.
    pub connect_timeout: Duration,
    /// For one request, from the connection to the last byte of its answer.
    pub answer_timeout: Duration,
    /// How often a request is tried. A service that asks for a pause gets it, up to the longest.
    pub retries: RetryPolicy,
}

impl ApiConfig {
    /// The service's own API, with the usual limits.
    pub fn new(user_agent: impl Into<String>) -> Self {
        Self {
            base: wire::API_BASE.to_owned(),
            user_agent: user_agent.into(),
            connect_timeout: Duration::from_secs(15),
            answer_timeout: Duration::from_secs(60),
            retries: RetryPolicy { tries: 4, ..RetryPolicy::default() },
        }
    }
}

/// A configuration that no request will be sent with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidApiConfig {
    /// Neither `https` nor `http` on loopback.
    #[error("the API base {0:?} is neither https nor http on loopback")]
    Base(String),
    /// Empty, or not to be written into a header.
    #[error("the user agent {0:?} cannot be sent")]
    UserAgent(String),
    /// The HTTP client cannot be made.
    #[error("no HTTP client: {0}")]
    Client(String),
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The service understood the call and refuses it, in its own words.
    #[error("the service refused: {text}")]
    Refused {
        /// For people.
        text: String,
    },
    /// Out of reach, overloaded or silent, after all tries.
    #[error("the service is out of reach: {0}")]
    Unreachable(String),
    /// An answer that is none of the API's: another try would bring the same.
    #[error("the service answered in an unexpected way: {0}")]
    Unexpected(String),
}

/// A client of the API. Clones share their connections.
#[derive(Clone)]
pub struct Api {
    client: Client,
    base: Url,
    retries: RetryPolicy,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// One try that failed.
struct Failed {
    error: ApiError,
    retry: Retry,
    /// How long the service asks to be left alone.
    asked: Option<Duration>,
}

/// Whether another try can help.
#[derive(PartialEq, Eq)]
enum Retry {
    /// It would bring the same.
    No,
    /// It can, but the service may have carried the call out already.
    IfRepeatable,
    /// It can, and the service has not carried the call out.
    Yes,
}

impl Failed {
    fn last(error: ApiError) -> Self {
        Self { error, retry: Retry::No, asked: None }
    }

    fn unreachable(message: impl Into<String>, retry: Retry) -> Self {
        Self { error: ApiError::Unreachable(message.into()), retry, asked: None }
    }
}

impl Api {
    /// Makes a client. Sends nothing yet.
    ///
    /// # Errors
    /// [`InvalidApiConfig`].
    pub fn new(config: &ApiConfig) -> Result<Self, InvalidApiConfig> {
        let base = parse_base(&config.base)?;
        let user_agent = HeaderValue::from_str(&config.user_agent)
            .ok()
            .filter(|value| !value.is_empty())
            .ok_or_else(|| InvalidApiConfig::UserAgent(config.user_agent.clone()))?;
        let client = Client::builder()
            .tls_backend_preconfigured((*tls::config(Roots::Mozilla)).clone())
            .https_only(base.scheme() == "https")
            .user_agent(user_agent)
            .connect_timeout(config.connect_timeout)
            .timeout(config.answer_timeout)
            // A redirect would carry the password or the token to wherever it points.
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .build()
            .map_err(|e| InvalidApiConfig::Client(described(&e)))?;
        Ok(Self { client, base, retries: config.retries })
    }

    /// Whether the API itself is on loopback, so that vaults may be, too.
    pub fn allows_loopback(&self) -> bool {
        self.base.host_str().is_some_and(is_loopback)
    }

    /// Makes a call, again where that can help. Signing in uses up its code, so it is tried again only where it
    /// cannot have reached the service.
    ///
    /// # Errors
    /// [`ApiError`]; never with a secret in it.
    pub async fn call<C: Call>(&self, call: &C) -> Result<C::Answer, ApiError> {
        let signs_in = C::PATH == SignIn::PATH;
        let body = to_json(call).map_err(|_| ApiError::Unexpected("the call is no JSON".into()))?;
        let mut failures = 0;
        loop {
            let failed = match self.attempt::<C>(body.clone(), signs_in).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            failures += 1;
            let repeatable = failed.retry == Retry::Yes || (failed.retry == Retry::IfRepeatable && !signs_in);
            let pause = match self.retries.pause(failures) {
                Some(pause) if repeatable => failed.asked.map_or(pause, |asked| self.heed(pause, asked)),
                _ => return Err(failed.error),
            };
            tracing::debug!(path = C::PATH, error = %failed.error, "trying again in {pause:?}");
            tokio::time::sleep(pause).await;
        }
    }

    /// The pause where the service asked for one.
    fn heed(&self, pause: Duration, asked: Duration) -> Duration {
        asked.clamp(pause, self.retries.longest_pause.max(pause))
    }

    async fn attempt<C: Call>(&self, body: Bytes, signs_in: bool) -> Result<C::Answer, Failed> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if signs_in {
            headers.insert(header::ORIGIN, HeaderValue::from_static(wire::ORIGIN));
            self.preflight::<C>().await?;
        }
        let response = send(self.request::<C>(Method::POST).headers(headers).body(body)).await?;
        let body = read(response).await?;
        answer::<C>(&body)
    }

    /// What a browser asks before it sends to another origin; the official client is one.
    async fn preflight<C: Call>(&self) -> Result<(), Failed> {
        let request = self
            .request::<C>(Method::OPTIONS)
            .header(header::ORIGIN, wire::ORIGIN)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type");
        match send(request).await {
            // The call itself has not been sent: it can be tried again.
            Err(Failed { error, retry: Retry::IfRepeatable, asked }) => Err(Failed { error, retry: Retry::Yes, asked }),
            // A service that has given this question up may still answer the call.
            Err(Failed { retry: Retry::No, .. }) | Ok(_) => Ok(()),
            Err(failed) => Err(failed),
        }
    }

    fn request<C: Call>(&self, method: Method) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path().trim_end_matches('/'), C::PATH));
        self.client.request(method, url)
    }
}

fn parse_base(base: &str) -> Result<Url, InvalidApiConfig> {
    let refused = || InvalidApiConfig::Base(base.chars().take(200).collect());
    let url = Url::parse(base).map_err(|_| refused())?;
    let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let fits = match url.scheme() {
        "https" => url.host_str().is_some(),
        "http" => url.host_str().is_some_and(is_loopback),
        _ => false,
    };
    if fits && bare { Ok(url) } else { Err(refused()) }
}

async fn send(request: RequestBuilder) -> Result<Response, Failed> {
    let response = request.send().await.map_err(|e| {
        let retry = if e.is_connect() { Retry::Yes } else { Retry::IfRepeatable };
        Failed::unreachable(described(&e), retry)
    })?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status.is_redirection() {
        return Err(Failed::last(ApiError::Unexpected(format!("a redirect (status {status}), not followed"))));
    }
    let message = format!("status {status}");
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            Err(Failed { asked: retry_after(&response), ..Failed::unreachable(message, Retry::Yes) })
        }
        _ if status.is_server_error() => Err(Failed::unreachable(message, Retry::IfRepeatable)),
        _ => Err(Failed::last(ApiError::Unexpected(message))),
    }
}

/// `Retry-After` in seconds; the form with a date is not used by overloaded services.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// An answer can have a token or a password in it.
async fn read(mut response: Response) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let announced = response.content_length().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
    let mut body = Zeroizing::new(Vec::with_capacity(announced.min(limits::MAX_ANSWER)));
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body),
            Ok(Some(chunk)) if body.len() + chunk.len() <= limits::MAX_ANSWER => body.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                let message = format!("more than {} bytes", limits::MAX_ANSWER);
                return Err(Failed::last(ApiError::Unexpected(message)));
            }
            Err(e) => return Err(Failed::unreachable(described(&e), Retry::IfRepeatable)),
        }
    }
}

fn answer<C: Call>(body: &[u8]) -> Result<C::Answer, Failed> {
    wire::parse_answer(body).map_err(|error| match error {
        AnswerError::Refused(refusal) => Failed::last(ApiError::Refused { text: refusal.error }),
        AnswerError::Unexpected(text) if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() => {
            Failed::last(ApiError::Unexpected(text))
        }
        AnswerError::Unexpected(page) => {
            Failed::unreachable(format!("{page} instead of an answer"), Retry::IfRepeatable)
        }
    })
}

/// The error and what it came from, without the address.
fn described(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return if error.is_connect() { "no connection in time".into() } else { "no answer in time".into() };
    }
    let mut text = if error.is_connect() { "no connection".to_owned() } else { "the connection broke".to_owned() };
    // reqwest's own text names the kind again and the address; what lies below tells the fact.
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        source = cause.source();
        if source.is_none() {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_is_https_or_loopback() {
        for base in [
            "https://api.obsidian.md",
            "https://127.0.0.1:8443/x",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost",
        ] {
            assert!(parse_base(base).is_ok(), "{base}");
        }
        for base in [
            "http://api.obsidian.md",
            "http://127.0.0.1.evil.com",
            "ftp://localhost",
            "",
            "https://u:p@api.obsidian.md",
            "file:///x",
        ] {
            assert!(parse_base(base).is_err(), "{base}");
        }
    }
}

//! The HTTP client under the SDKs: the one that the service is reached with, too. The SDKs' own brings a second HTTP
//! stack, HTTP/2 in it, and loads the machine's certificates for every client.

use std::error::Error;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use reqwest::{Body, Client, Request, redirect};

use super::CONNECT_TIMEOUT;
use crate::tls::{self, Roots};

/// A client with connections of its own. As with the service, no proxy is asked.
///
/// # Panics
/// Never: what could make it fail is fixed here.
pub fn http_client(roots: Roots) -> SharedHttpClient {
    let client = Client::builder()
        .tls_backend_preconfigured((*tls::config(roots)).clone())
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(redirect::Policy::none())
        .http1_only()
        .no_proxy()
        .build()
        .expect("a client with a TLS configuration of its own");
    SharedHttpClient::new(Http(client))
}

/// Both what the SDKs call a client and what they call its connector: limits of time beside that of connecting are
/// theirs.
#[derive(Debug, Clone)]
struct Http(Client);

impl HttpClient for Http {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|e| ConnectorError::user(e.into()))?;
            let request = Request::try_from(request.map(Body::wrap)).map_err(|e| ConnectorError::user(e.into()))?;
            let answer = client.execute(request).await.map_err(failed)?;
            let answer = http::Response::<Body>::from(answer).map(SdkBody::from_body_1_x);
            HttpResponse::try_from(answer).map_err(|e| ConnectorError::other(e.into(), None))
        })
    }
}

/// The SDKs try again what failed by a limit of time or on the way.
fn failed(error: reqwest::Error) -> ConnectorError {
    let (timeout, connect) = (error.is_timeout(), error.is_connect());
    // reqwest's own text names the kind again and the address, in which a signature may stand.
    let cause: Box<dyn Error + Send + Sync> = error.without_url().into();
    match (timeout, connect) {
        (true, _) => ConnectorError::timeout(cause),
        (false, true) => ConnectorError::io(cause).never_connected(),
        (false, false) => ConnectorError::io(cause),
    }
}

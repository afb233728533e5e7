//! DynamoDB without a network, for tests that decide when each request is carried out.

use std::fmt;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use dynoxide::{Database, DynoxideError};
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A server with one table in memory that the SDK calls as a function: without sockets, tasks or time of its own, so that
/// whoever drives its clients decides on the order of all that happens.
pub struct DirectDynamo {
    database: Database,
    base: SdkConfig,
}

/// Whether the client hears of what was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It does.
    Given,
    /// The connection is lost instead.
    Lost,
}

/// Asked before each request, which is carried out when this has come to its end.
type Ask = Arc<dyn Fn() -> BoxFuture<'static, Answer> + Send + Sync>;

impl DirectDynamo {
    /// With a table of this name, as the contract has it.
    pub async fn with_table(name: &str) -> Self {
        let database = Database::memory().unwrap();
        let base = super::config("http://127.0.0.1", called(&database, at_once)).await;
        super::create_table(&Client::new(&base), name).await;
        Self { database, base }
    }

    /// How an AWS SDK calls it at once.
    pub fn sdk_config(&self) -> SdkConfig {
        self.base.clone()
    }

    /// How an AWS SDK calls it when `ask` lets it; asked before each request.
    pub fn asking(&self, ask: impl Fn() -> BoxFuture<'static, Answer> + Send + Sync + 'static) -> SdkConfig {
        self.base.clone().into_builder().http_client(called(&self.database, ask)).build()
    }

    /// All items of a table, as they stand in an answer.
    pub fn items(&self, table: &str) -> Vec<serde_json::Value> {
        let scan = serde_json::from_value(serde_json::json!({ "TableName": table })).unwrap();
        let answer = serde_json::to_value(self.database.scan(scan).unwrap()).unwrap();
        answer["Items"].as_array().unwrap().clone()
    }
}

fn at_once() -> BoxFuture<'static, Answer> {
    Box::pin(async { Answer::Given })
}

fn called(
    database: &Database,
    ask: impl Fn() -> BoxFuture<'static, Answer> + Send + Sync + 'static,
) -> SharedHttpClient {
    SharedHttpClient::new(Called { database: database.clone(), ask: Arc::new(ask) })
}

#[derive(Clone)]
struct Called {
    database: Database,
    ask: Ask,
}

impl fmt::Debug for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectDynamo")
    }
}

impl HttpClient for Called {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Called {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { database, ask } = self.clone();
        HttpConnectorFuture::new(async move {
            let answer = ask().await;
            let (status, body) = carry_out(&database, &request);
            match answer {
                Answer::Given => Ok(HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body))),
                Answer::Lost => Err(ConnectorError::io("the answer was lost by the test".into())),
            }
        })
    }
}

fn carry_out(database: &Database, request: &HttpRequest) -> (u16, String) {
    let operation = request.headers().get("x-amz-target").and_then(|target| target.rsplit('.').next()).unwrap();
    let body = request.body().bytes().unwrap();
    let done = match operation {
        "CreateTable" => with(body, |request| database.create_table(request)),
        "GetItem" => with(body, |request| database.get_item(request)),
        "BatchGetItem" => with(body, |request| database.batch_get_item(request)),
        "UpdateItem" => with(body, |request| database.update_item(request)),
        "TransactWriteItems" => with(body, |request| database.transact_write_items(request)),
        "Scan" => with(body, |request| database.scan(request)),
        other => panic!("a request that is not foreseen: {other}"),
    };
    done.map_or_else(|error| (error.status_code(), error.to_json()), |body| (200, body))
}

fn with<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    work: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Result<String, DynoxideError> {
    Ok(serde_json::to_string(&work(serde_json::from_slice(body).unwrap())?).unwrap())
}

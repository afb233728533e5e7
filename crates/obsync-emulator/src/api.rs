//! The HTTP API (`protocol.md` §1). Every answer has status 200; a refusal is an object with `error`.

use std::sync::Arc;

use obsync_proto::wire::api::{
    AccessVault, CreateVault, Granted, ListVaults, Refusal, Region, RegionList, Regions, SignIn, SignOut, SignedIn,
    User, UserInfo, VaultList, VaultRow,
};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::EmulatorError;
use crate::refusal;
use crate::service::{Caller, Service, random_hex};
use crate::vault::{NewVault, Vault};

/// Where vaults are that a test makes, or that name no region.
pub(crate) const DEFAULT_REGION: &str = "loopback";

/// The answer to one call; `None` for a path that is none of the API's.
pub(crate) fn answer(service: &Arc<Service>, path: &str, body: &[u8]) -> Option<Vec<u8>> {
    match path {
        "/user/signin" => Some(call(body, |c| sign_in(service, c))),
        "/user/signout" => Some(call(body, |c| sign_out(service, c))),
        "/user/info" => Some(call(body, |c| info(service, c))),
        "/vault/list" => Some(call(body, |c| list(service, c))),
        "/vault/access" => Some(call(body, |c| access(service, c))),
        "/vault/create" => Some(call(body, |c| create(service, c))),
        "/vault/regions" => Some(call(body, |c| regions(service, c))),
        _ => None,
    }
}

/// A refusal as a body.
pub(crate) fn refused(text: &str) -> Vec<u8> {
    written(&Refusal { error: text.to_owned() })
}

fn call<C: DeserializeOwned, A: Serialize>(body: &[u8], handle: impl FnOnce(&C) -> Result<A, &'static str>) -> Vec<u8> {
    let Ok(call) = serde_json::from_slice(body) else { return refused(refusal::MALFORMED) };
    match handle(&call) {
        Ok(answer) => written(&answer),
        Err(text) => refused(text),
    }
}

fn written<T: Serialize>(answer: &T) -> Vec<u8> {
    // Strings, numbers and lists: nothing that serde_json could refuse.
    serde_json::to_vec(answer).unwrap_or_default()
}

fn sign_in(service: &Service, call: &SignIn) -> Result<SignedIn, &'static str> {
    let (token, caller) = service.sign_in(&call.email, call.password.expose_secret(), call.mfa.expose_secret())?;
    Ok(SignedIn { token: token.into(), name: caller.name, email: caller.email })
}

fn sign_out(service: &Service, call: &SignOut) -> Result<Granted, &'static str> {
    caller(service, &call.token)?;
    service.sign_out(call.token.expose_secret()).map_err(internal)?;
    Ok(Granted {})
}

fn info(service: &Service, call: &UserInfo) -> Result<User, &'static str> {
    let caller = caller(service, &call.token)?;
    Ok(User { uid: caller.number.to_string().into(), name: caller.name, email: caller.email })
}

fn list(service: &Service, call: &ListVaults) -> Result<VaultList, &'static str> {
    let (own, shared) = service.vaults_of(&caller(service, &call.token)?);
    let readable = |row: &VaultRow| row.encryption_version <= call.supported_encryption_version;
    let rows = |vaults: Vec<Arc<Vault>>| vaults.iter().map(|v| v.row(&service.host)).filter(readable).collect();
    Ok(VaultList { vaults: rows(own), shared: rows(shared) })
}

fn access(service: &Service, call: &AccessVault) -> Result<Granted, &'static str> {
    let caller = caller(service, &call.token)?;
    service.open_vault(&caller, &call.vault_uid, call.keyhash.expose_secret(), call.encryption_version)?;
    Ok(Granted {})
}

fn create(service: &Service, call: &CreateVault) -> Result<VaultRow, &'static str> {
    let caller = caller(service, &call.token)?;
    if service.config().subscription_expired {
        return Err(refusal::SUBSCRIPTION_EXPIRED);
    }
    let new = match (&call.keyhash, &call.salt) {
        (Some(keyhash), Some(salt)) => {
            NewVault::end_to_end(&call.name, call.encryption_version, salt, keyhash.expose_secret())
        }
        (None, None) => {
            let (salt, password) = (random_hex(16).map_err(internal)?, random_hex(16).map_err(internal)?);
            NewVault::managed(&call.name, call.encryption_version, salt, password)
        }
        _ => return Err(refusal::HALF_A_KEY),
    };
    let region = call.region.as_deref().filter(|region| !region.is_empty()).unwrap_or(DEFAULT_REGION);
    let vault = service.create_vault(&caller.email, new, region).map_err(internal)?;
    Ok(vault.row(&service.host))
}

fn regions(service: &Service, call: &Regions) -> Result<RegionList, &'static str> {
    caller(service, &call.token)?;
    Ok(RegionList { regions: vec![Region { value: DEFAULT_REGION.to_owned(), name: "Loopback".to_owned() }] })
}

fn caller(service: &Service, token: &SecretString) -> Result<Caller, &'static str> {
    service.caller(token.expose_secret()).ok_or(refusal::NOT_SIGNED_IN)
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn internal(error: EmulatorError) -> &'static str {
    tracing::error!("{error}");
    refusal::INTERNAL
}

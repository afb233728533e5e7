//! TLS as every connection has it.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};

/// Whose word is taken for who a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roots {
    /// Mozilla's: those of the machine take 3 ms to load, and a minimal container has none.
    Mozilla,
    /// The machine's beside them, for a server of the user's own.
    MozillaAndMachine,
}

/// rustls over aws-lc-rs.
pub(crate) fn config(roots: Roots) -> Arc<ClientConfig> {
    static MOZILLA: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    match roots {
        Roots::Mozilla => MOZILLA.get_or_init(|| build(mozilla())).clone(),
        Roots::MozillaAndMachine => {
            let mut store = mozilla();
            // Those that cannot be read, or are none, are left out.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            build(store)
        }
    }
}

fn mozilla() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

fn build(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the cipher suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

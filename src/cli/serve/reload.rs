//! Reloads the configuration: all of it takes effect, or nothing does.

use crate::cli::serve::server::{RunningServer, WatchedCertificates};
use crate::cli::serve::startup_report::web_settings;
use crate::config::schema::AnyKey;
use crate::config::{Diagnostic, Error, HostInfo, Layer, Settings, resolve, schema};
use crate::net::TlsServer;
use crate::relay::ListenerChanges;
use crate::service::admin::{ListenerReport, ReloadReport};
use crate::service::certificates::{CertificateFiles, CertificateStore};
use serde_json::json;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;

impl RunningServer {
    /// Reloads the configuration and logs the result. Keys that need a restart keep their values.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration. Nothing has changed then.
    pub(super) async fn reload(&mut self, trigger: &str) -> Result<ReloadReport, Error> {
        let result = self.try_reload().await;
        match &result {
            Ok(report) => {
                let report = json!(report);
                tracing::info!(%report, "{trigger}: configuration reloaded");
            }
            Err(error) => {
                tracing::error!("{trigger}: configuration refused, nothing has changed: {error}");
                if let Some(watched) = &self.parts.certificates {
                    watched.certificates.count_invalid_files();
                }
            }
        }
        result
    }

    async fn try_reload(&mut self) -> Result<ReloadReport, Error> {
        let loaded = self.parts.flags.load()?;
        let host = HostInfo {
            public: self.parts.host.public,
            ..HostInfo::detect(self.parts.host.secret.clone())
        };
        // The whole file must be valid, also the keys that take effect after a restart only.
        resolve(&loaded, &host)?;
        let (restart, changed): (Vec<_>, Vec<_>) = self
            .parts
            .layer
            .changed_keys(&loaded)
            .map(AnyKey::info)
            .partition(|info| info.restart);
        let realms_changed = self.parts.layer.realms != loaded.realms;
        let layer = loaded.keep(&self.parts.layer, |key| key.info().restart);
        let mut settings = resolve(&layer, &self.parts.host)?;
        let changes = self.apply_listeners(&layer, &mut settings).await?;

        // Nothing can fail from here on.
        if self.parts.settings.logs.level != settings.logs.level {
            self.parts.log_filter.set(&settings.logs.level);
        }
        settings.plan.policy.own_addresses = self.parts.settings.plan.policy.own_addresses.clone();
        self.parts.layer = layer;
        self.parts.settings = settings;
        self.apply().await;
        let settings = &self.parts.settings;
        if let Some(web) = &self.parts.web {
            web.replace_settings(web_settings(settings, &self.parts.relay, &self.parts.host));
        }
        let warnings = settings.warnings.iter().chain(&settings.advice);
        let names = |infos: Vec<&schema::KeyInfo>| -> Vec<String> {
            infos.iter().map(|info| info.name.to_owned()).collect()
        };
        let mut changed = names(changed);
        if realms_changed {
            changed.push("realms".into());
        }
        Ok(ReloadReport {
            changed,
            restart: names(restart),
            warnings: warnings.map(Diagnostic::to_string).collect(),
            listeners: listener_report(&changes),
        })
    }

    /// Applies the parts that can fail: the listeners, and whether they speak TLS.
    async fn apply_listeners(
        &mut self,
        layer: &Layer,
        settings: &mut Settings,
    ) -> Result<ListenerChanges, Error> {
        if self.handed_over {
            // The ports belong to another server process.
            return Ok(ListenerChanges::default());
        }
        let relay = self.parts.relay.clone();
        let old_tls = self.parts.settings.plan.secure.tls.clone();
        let new_tls = settings.plan.secure.tls.clone();
        let toggles_tls = old_tls.is_some() != new_tls.is_some();
        if toggles_tls {
            relay
                .set_tls(new_tls.clone())
                .await
                .map_err(|error| error_of_key(layer, &schema::CERTIFICATE, &error))?;
        }
        let changes = match relay.set_listeners(&settings.plan.listeners).await {
            Ok(changes) => changes,
            Err(error) => {
                if toggles_tls && let Err(error) = relay.set_tls(old_tls).await {
                    tracing::error!(%error, "TLS could not be restored after a refused reload");
                }
                let message = format_args!("a listener cannot be opened: {error}");
                return Err(error_of_key(layer, &schema::LISTEN, &message));
            }
        };
        if old_tls.is_some() && new_tls.is_some() {
            // The running TLS server has the certificate that ACME ordered, the new one does not.
            settings.plan.secure.tls = old_tls;
        }
        self.apply_certificates(new_tls, settings.tls.files.clone());
        Ok(changes)
    }

    fn apply_certificates(
        &mut self,
        new_tls: Option<Arc<TlsServer>>,
        files: Vec<CertificateFiles>,
    ) {
        let certificates = &mut self.parts.certificates;
        match (certificates.take(), new_tls) {
            (Some(watched), Some(_)) => {
                watched.certificates.set_files(files);
                watched.certificates.reload();
                *certificates = Some(watched);
            }
            (Some(watched), None) => watched.watcher.abort(),
            (None, Some(tls)) => {
                *certificates = Some(WatchedCertificates::watch(CertificateStore::new(
                    tls, files,
                )));
            }
            (None, None) => {}
        }
    }
}

fn listener_report(changes: &ListenerChanges) -> Option<ListenerReport> {
    let texts = |addresses: &[SocketAddr]| addresses.iter().map(SocketAddr::to_string).collect();
    (*changes != ListenerChanges::default()).then(|| ListenerReport {
        added: texts(&changes.added),
        removed: texts(&changes.removed),
    })
}

fn error_of_key(layer: &Layer, key: &dyn AnyKey, message: &dyn Display) -> Error {
    Diagnostic::new(&layer.source(key), message.to_string()).into()
}

//! Reading the configuration again: all of it counts, or nothing does.

use crate::cli::serve::server::{RunningServer, WatchedCertificates};
use crate::cli::serve::startup_report::web_settings;
use crate::config::resolve;
use crate::config::schema::AnyKey;
use crate::config::{Diagnostic, Error, HostInfo, Layer, Settings, schema};
use crate::relay::ListenerChanges;
use crate::service::admin::{ListenerReport, ReloadReport};
use crate::service::certificates::CertificateStore;
use serde_json::json;
use std::fmt::Display;
use std::net::SocketAddr;

impl RunningServer {
    /// Reads the configuration again and goes by it, and says in the log what came of it; what needs a restart stays as it
    /// is.
    ///
    /// # Errors
    /// Everything that is wrong with it; nothing has changed then.
    pub(super) async fn reload(&mut self, by: &str) -> Result<ReloadReport, Error> {
        let read = self.read_again().await;
        match &read {
            Ok(report) => {
                let report = json!(report);
                tracing::info!(%report, "{by}: configuration read again");
            }
            Err(error) => {
                tracing::error!("{by}: nothing has changed: {error}");
                self.parts
                    .certificates
                    .iter()
                    .for_each(|watched| watched.certificates.count_invalid_files());
            }
        }
        read
    }

    async fn read_again(&mut self) -> Result<ReloadReport, Error> {
        let fresh = self.parts.flags.load()?;
        let known = &self.parts.host;
        let host = HostInfo {
            public: known.public,
            ..HostInfo::detect(known.secret.clone())
        };
        // The whole must be right, also what only a restart would bring.
        resolve(&fresh, &host)?;
        let (mut live, restart) = self.changes(&fresh);
        if self.parts.written.realms != fresh.realms {
            live.push("realms");
        }
        let written = fresh.keep(&self.parts.written, |key| key.info().restart);
        let mut settings = resolve(&written, &self.parts.host)?;
        let relistened = self.reach_out(&written, &mut settings).await?;
        let warnings: Vec<String> = settings
            .warnings
            .iter()
            .chain(&settings.advice)
            .map(ToString::to_string)
            .collect();
        if self.parts.settings.logs.level != settings.logs.level {
            self.parts.level.set(&settings.logs.level);
        }
        settings.plan.policy.own_addresses = self.parts.settings.plan.policy.own_addresses.clone();
        self.parts.written = written;
        self.parts.settings = settings;
        self.apply().await;
        if let Some(web) = &self.parts.web {
            web.replace_settings(web_settings(
                &self.parts.settings,
                &self.parts.relay,
                &self.parts.host,
            ));
        }
        let texts = |keys: Vec<&str>| keys.into_iter().map(str::to_owned).collect();
        let addresses =
            |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect();
        let listeners = (relistened != ListenerChanges::default()).then(|| ListenerReport {
            added: addresses(&relistened.added),
            removed: addresses(&relistened.removed),
        });
        Ok(ReloadReport {
            changed: texts(live),
            restart: texts(restart),
            warnings,
            listeners,
        })
    }

    /// The keys that changed: those that a reload changes, and those that need a restart.
    fn changes(&self, fresh: &Layer) -> (Vec<&'static str>, Vec<&'static str>) {
        let (mut live, mut restart) = (Vec::new(), Vec::new());
        for key in self.parts.written.changed_keys(fresh) {
            if key.info().restart {
                restart.push(key.info().name)
            } else {
                live.push(key.info().name)
            }
        }
        (live, restart)
    }

    /// Changes what may fail: where the relay listens, and whether it speaks TLS.
    async fn reach_out(
        &mut self,
        written: &Layer,
        settings: &mut Settings,
    ) -> Result<ListenerChanges, Error> {
        if self.replaced {
            // The ports are another server's.
            return Ok(ListenerChanges::default());
        }
        let relay = self.parts.relay.clone();
        let (before, after) = (
            self.parts.settings.plan.secure.tls.clone(),
            settings.plan.secure.tls.clone(),
        );
        let turns = before.is_some() != after.is_some();
        if turns {
            relay
                .set_tls(after.clone())
                .await
                .map_err(|error| error_at_key(written, &schema::CERTIFICATE, &error))?;
        }
        let relistened = match relay.set_listeners(&settings.plan.listeners).await {
            Ok(relistened) => relistened,
            Err(error) => {
                if turns && let Err(error) = relay.set_tls(before).await {
                    tracing::error!(%error, "TLS is not as it was");
                }
                return Err(error_at_key(
                    written,
                    &schema::LISTEN,
                    &format_args!("a listener cannot be opened: {error}"),
                ));
            }
        };
        let pairs = settings.tls.pairs.clone();
        match (self.parts.certificates.take(), after) {
            (Some(watched), Some(_)) => {
                // What ACME ordered is known to what runs, and to nobody else.
                settings.plan.secure.tls = before;
                watched.certificates.set_files(pairs);
                watched.certificates.reload();
                self.parts.certificates = Some(watched);
            }
            (Some(watched), None) => watched.watching.abort(),
            (None, Some(tls)) => {
                self.parts.certificates = Some(WatchedCertificates::watch(CertificateStore::new(
                    tls, pairs,
                )));
            }
            (None, None) => {}
        }
        Ok(relistened)
    }
}

fn error_at_key(layer: &Layer, key: &dyn AnyKey, message: &dyn Display) -> Error {
    Diagnostic::new(&layer.source(key), message.to_string()).into()
}

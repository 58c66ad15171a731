//! Settings that the server can run with, but that its operator probably did not mean or should
//! know about.

use crate::config::error::Diagnostic;
use crate::config::layer::Layer;
use crate::config::resolve::secret_files::without_line_break;
use crate::config::resolve::web::WebListener;
use crate::config::resolver::Resolver;
use crate::config::schema;
use crate::config::schema::AnyKey;
use crate::config::value::ExternalAddress;
use crate::relay::Plan;
use crate::service::ice_servers::IceAccess;
use crate::turn::RelayAddress;
use crate::turn::policy::acl::Acl;

/// Probable mistakes.
pub(super) fn warnings(layer: &Layer, plan: &Plan, web: &WebListener) -> Vec<Diagnostic> {
    let mut resolver = Resolver::new(layer);
    too_few_ports(&mut resolver, plan);
    private_external_addresses(&mut resolver);
    guessable_secrets(&mut resolver, layer);
    listeners_among_relay_ports(&mut resolver, plan);
    web_tls_without_certificate(&mut resolver, plan, web);
    resolver.diagnostics
}

/// Legal but notable settings.
pub(super) fn advice(layer: &Layer, web: &WebListener) -> Vec<Diagnostic> {
    let mut resolver = Resolver::new(layer);
    public_credentials(&mut resolver, web);
    resolver.diagnostics
}

fn too_few_ports(resolver: &mut Resolver, plan: &Plan) {
    let ports = u32::from(*plan.relay_ports.end()) - u32::from(*plan.relay_ports.start()) + 1;
    let relays = &plan.policy.relay_addresses;
    let ipv4 = relays.iter().filter(|relay| relay.local.is_ipv4()).count();
    let per_family = ipv4.max(relays.len() - ipv4) as u32;
    let capacity = ports.saturating_mul(per_family);
    let limits = &plan.policy.limits;
    let keys: [(&dyn AnyKey, u32); 4] = [
        (&schema::MAX_ALLOCATIONS, limits.allocations),
        (&schema::REALM_ALLOCATIONS, limits.allocations_per_realm),
        (&schema::USER_ALLOCATIONS, limits.allocations_per_user),
        (&schema::ADDRESS_ALLOCATIONS, limits.allocations_per_address),
    ];
    for (key, limit) in keys {
        if resolver.has(key) && limit != u32::MAX && limit > capacity {
            let message = format!(
                "{limit} allocations do not fit into {capacity} relayed ports; widen relay_ports or add a relay_address"
            );
            resolver.error(key, message);
        }
    }
}

fn private_external_addresses(resolver: &mut Resolver) {
    let default_acl = Acl::default();
    for external in resolver.get_sourced(&schema::EXTERNAL_ADDRESS) {
        let address = match external.value {
            ExternalAddress::Fixed { external, .. } => external,
            ExternalAddress::Auto => continue,
        };
        if !default_acl.permits(address) {
            let message =
                format!("{address} is not a public address; clients elsewhere cannot reach it");
            resolver.error_at(&external.source, &schema::EXTERNAL_ADDRESS, message);
        }
    }
}

fn guessable_secrets(resolver: &mut Resolver, layer: &Layer) {
    let keys: [&dyn AnyKey; 2] = [&schema::SHARED_SECRET, &schema::SHARED_SECRET_FILE];
    for layer in std::iter::once(layer).chain(&layer.realms) {
        for raw in keys.into_iter().flat_map(|key| layer.get(key)) {
            let secret = match &raw.content {
                Some(Ok(content)) => without_line_break(content),
                Some(Err(_)) | None => &raw.text,
            };
            if secret.len() < MINIMUM_SECRET_LENGTH {
                let message = format!(
                    "a secret of {} characters can be guessed; write {MINIMUM_SECRET_LENGTH} or more",
                    secret.len()
                );
                resolver
                    .diagnostics
                    .push(Diagnostic::new(&raw.source, message));
            }
        }
    }
}

fn listeners_among_relay_ports(resolver: &mut Resolver, plan: &Plan) {
    for listener in &plan.listeners {
        let address = listener.address;
        let shares_address =
            |relay: &RelayAddress| address.ip().is_unspecified() || relay.local == address.ip();
        if plan.relay_ports.contains(&address.port())
            && plan.policy.relay_addresses.iter().any(shares_address)
        {
            let key: &dyn AnyKey = match resolver.has(&schema::RELAY_PORTS) {
                true => &schema::RELAY_PORTS,
                false => &schema::LISTEN,
            };
            resolver.error(
                key,
                format!("the listener {address} lies in the range of relayed ports"),
            );
        }
    }
}

fn web_tls_without_certificate(resolver: &mut Resolver, plan: &Plan, web: &WebListener) {
    if web.tls && plan.secure.tls.is_none() {
        resolver.error(
            &schema::WEB_TLS,
            "no listener speaks TLS; set certificate and private_key, or acme_domain",
        );
    }
}

fn public_credentials(resolver: &mut Resolver, web: &WebListener) {
    if web.is_enabled() && web.settings.ice.access == IceAccess::Public {
        resolver.error(
            &schema::ICE_OPEN,
            "everyone who reaches the web listener gets credentials for the relay; to admit only clients of your \
             application, write loopback and set room_secret or room_hook",
        );
    }
}

/// In characters.
const MINIMUM_SECRET_LENGTH: usize = 16;

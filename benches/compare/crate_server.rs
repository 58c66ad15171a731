//! The server of the crate `turn`, configured as in its own example, in a child process of this
//! executable.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use turn::auth::{AuthHandler, generate_auth_key};
use turn::relay::relay_static::RelayAddressGeneratorStatic;
use turn::server::Server;
use turn::server::config::{ConnConfig, ServerConfig};
use webrtc_util::vnet::net::Net;

/// The argument that makes this executable this server.
pub const FLAG: &str = "--serve-crate";

/// Serves on a port of 127.0.0.1 until killed.
pub fn serve(port: u16) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .expect("the port");
        let relays = RelayAddressGeneratorStatic {
            relay_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            address: "127.0.0.1".to_owned(),
            net: Arc::new(Net::new(None)),
        };
        let config = ServerConfig {
            conn_configs: vec![ConnConfig {
                conn: Arc::new(socket),
                relay_addr_generator: Box::new(relays),
            }],
            realm: "bench".to_owned(),
            auth_handler: Arc::new(OneUser(generate_auth_key("user", "bench", "pass"))),
            channel_bind_timeout: Duration::from_secs(600),
            alloc_close_notify: None,
        };
        let _server = Server::new(config).await.expect("a server");
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

struct OneUser(Vec<u8>);

impl AuthHandler for OneUser {
    fn auth_handle(&self, _: &str, _: &str, _: SocketAddr) -> Result<Vec<u8>, turn::Error> {
        Ok(self.0.clone())
    }
}

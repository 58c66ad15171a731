//! `hairpin admin`: requests to the admin listener of a running server, and their responses as
//! tables or JSON.

mod request;
mod table;

use crate::cli::output::{failure, print_result, usage_error};
use crate::config::value;
use crate::config::value::{AdminAddress, ValueError, malformed};
use clap::{Args, Subcommand};
use hyper::Method;
use request::{AdminRequest, RequestError, percent_encode};
use std::process::ExitCode;
use std::time::Duration;

/// Inspect and control a running server: allocations, users, drain, reload
#[derive(Args, Clone, Debug)]
pub struct Admin {
    /// Admin listener of the server: IP:PORT or unix:PATH
    #[arg(long, global = true, value_name = "ADDRESS", env = "HAIRPIN_ADMIN", default_value = "127.0.0.1:9641", value_parser = admin_address)]
    admin: AdminAddress,
    /// Token of the admin listener
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "HAIRPIN_ADMIN_TOKEN",
        hide_env_values = true
    )]
    admin_token: Option<String>,
    /// Print the response as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: AdminVerb,
}

#[derive(Subcommand, Clone, Debug)]
enum AdminVerb {
    /// List allocations, the oldest first
    List {
        /// Only allocations of this user
        #[arg(long)]
        user: Option<String>,
        /// Only allocations of this realm
        #[arg(long)]
        realm: Option<String>,
        /// Only allocations of clients at this IP address
        #[arg(long)]
        client: Option<String>,
        /// Only allocations over udp, tcp, tls or dtls
        #[arg(long)]
        transport: Option<String>,
        /// Maximum number of allocations
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Number of allocations to skip
        #[arg(long, default_value_t = 0)]
        offset: usize,
    },
    /// Show an allocation with its permissions, channels and throughput
    Show {
        /// Allocation id, as in the list and in the log
        id: u64,
    },
    /// End an allocation, or all allocations of a user
    Close {
        /// Allocation id
        #[arg(required_unless_present = "user", conflicts_with = "user")]
        id: Option<u64>,
        /// End all allocations of this user
        #[arg(long)]
        user: Option<String>,
    },
    /// List users by relayed bytes, and blocked users
    Users,
    /// Reject new allocations of a user for a time, and end the current ones
    Block {
        /// User name
        user: String,
        /// Duration of the block
        #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = value::duration)]
        time: Duration,
    },
    /// End the block of a user
    Unblock {
        /// User name
        user: String,
    },
    /// Show the configuration and where each value was given
    Plan,
    /// Show the numbers of the status page
    Status,
    /// Show or replace the log filter
    LogLevel {
        /// New filter, such as info or info,hairpin::relay=debug
        filter: Option<String>,
    },
    /// Reject new allocations, and exit after the last one ended or at the deadline
    Drain {
        /// Time until allocations are ended [default: the server's drain_timeout]
        #[arg(long, value_name = "DURATION", value_parser = value::duration)]
        deadline: Option<Duration>,
    },
    /// Reload the configuration; all of it is applied or nothing
    Reload,
}

/// Runs the command. Exit codes: 0 success, 1 failure, 2 refused request.
pub fn run(args: &Admin) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failure(&error),
    };
    // The server ignores line breaks at the end of its own variable too.
    let token = args
        .admin_token
        .as_deref()
        .map(|token| token.trim_end_matches(['\r', '\n']));
    match runtime.block_on(request::send(&args.admin, token, &args.command.request())) {
        Ok(response) if args.json => {
            let text = serde_json::to_string_pretty(&response).unwrap_or_default();
            print_result(&text, ExitCode::SUCCESS)
        }
        Ok(response) => print_result(&table::render(&response), ExitCode::SUCCESS),
        Err(RequestError::Refused(message)) => usage_error(&message),
        Err(error) => failure(&error),
    }
}

impl AdminVerb {
    fn request(&self) -> AdminRequest {
        let request = |method, path| AdminRequest {
            method,
            path,
            body: String::new(),
        };
        match self {
            AdminVerb::List {
                user,
                realm,
                client,
                transport,
                limit,
                offset,
            } => {
                let mut path = format!("/allocations?limit={limit}&offset={offset}");
                let filters = [
                    ("user", user),
                    ("realm", realm),
                    ("client", client),
                    ("transport", transport),
                ];
                for (name, value) in filters {
                    if let Some(value) = value {
                        path.push_str(&format!("&{name}={}", percent_encode(value)));
                    }
                }
                request(Method::GET, path)
            }
            AdminVerb::Show { id } => request(Method::GET, format!("/allocations/{id}")),
            AdminVerb::Close { id: Some(id), .. } => {
                request(Method::DELETE, format!("/allocations/{id}"))
            }
            AdminVerb::Close { id: None, user } => {
                let user = percent_encode(user.as_deref().unwrap_or_default());
                request(Method::DELETE, format!("/users/{user}/allocations"))
            }
            AdminVerb::Users => request(Method::GET, "/users".into()),
            AdminVerb::Block { user, time } => {
                let (user, time) = (percent_encode(user), time.as_millis());
                request(Method::PUT, format!("/users/{user}/block?for={time}ms"))
            }
            AdminVerb::Unblock { user } => request(
                Method::DELETE,
                format!("/users/{}/block", percent_encode(user)),
            ),
            AdminVerb::Plan => request(Method::GET, "/plan".into()),
            AdminVerb::Status => request(Method::GET, "/status".into()),
            AdminVerb::LogLevel { filter: None } => request(Method::GET, "/log-level".into()),
            AdminVerb::LogLevel {
                filter: Some(filter),
            } => AdminRequest {
                method: Method::PUT,
                path: "/log-level".into(),
                body: filter.clone(),
            },
            AdminVerb::Drain { deadline: None } => request(Method::POST, "/drain".into()),
            AdminVerb::Drain {
                deadline: Some(deadline),
            } => request(
                Method::POST,
                format!("/drain?deadline={}ms", deadline.as_millis()),
            ),
            AdminVerb::Reload => request(Method::POST, "/reload".into()),
        }
    }
}

fn admin_address(text: &str) -> Result<AdminAddress, ValueError> {
    value::admin_address(text)?.ok_or_else(|| {
        malformed(
            text,
            "an address",
            "127.0.0.1:9641 or unix:/run/hairpin/admin.sock",
        )
    })
}

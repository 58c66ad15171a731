//! `hairpin admin`: looks after a running server through its operators' listener.

mod ask;
mod show;

use crate::cli::output::{failure, print_result, usage_error};
use crate::config::value;
use crate::config::value::AdminAddress;
use clap::{Args, Subcommand};
use hyper::Method;
use std::process::ExitCode;
use std::time::Duration;

/// Look after a running server: who relays, what it does, drain, reload
#[derive(Args, Clone, Debug)]
pub struct Admin {
    /// The server's operators' listener: IP:PORT or unix:PATH
    #[arg(long, global = true, value_name = "PLACE", env = "HAIRPIN_ADMIN", default_value = "127.0.0.1:9641", value_parser = admin_address)]
    admin: AdminAddress,
    /// The token that the server wants
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "HAIRPIN_ADMIN_TOKEN",
        hide_env_values = true
    )]
    admin_token: Option<String>,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Clone, Debug)]
enum Verb {
    /// List allocations, the oldest first
    List {
        /// Only this user's
        #[arg(long)]
        user: Option<String>,
        /// Only this realm's
        #[arg(long)]
        realm: Option<String>,
        /// Only from this IP address
        #[arg(long)]
        client: Option<String>,
        /// Only over udp, tcp, tls or dtls
        #[arg(long)]
        transport: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// How many to pass over
        #[arg(long, default_value_t = 0)]
        offset: usize,
    },
    /// Show one allocation
    Show {
        /// Its id, as the list and the log say it
        id: u64,
    },
    /// End an allocation, or all of a user
    Close {
        /// The allocation's id
        #[arg(required_unless_present = "user", conflicts_with = "user")]
        id: Option<u64>,
        /// All of this user
        #[arg(long)]
        user: Option<String>,
    },
    /// List users by what they relay, and those that are kept out
    Users,
    /// Refuse new allocations to a user for a time, and end those that live
    Block {
        /// Whom
        user: String,
        /// For how long
        #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = value::duration)]
        time: Duration,
    },
    /// Let a user in again
    Unblock {
        /// Whom
        user: String,
    },
    /// Show what was written and where
    Plan,
    /// Show the server's numbers
    Status,
    /// Show what is logged, or log as a filter says
    LogLevel {
        /// The filter: info, or info,hairpin::relay=debug
        filter: Option<String>,
    },
    /// Leave: take no new allocations, end with the last or at the deadline
    Drain {
        /// How long allocations may live on [default: the server's drain_timeout]
        #[arg(long, value_name = "DURATION", value_parser = value::duration)]
        deadline: Option<Duration>,
    },
    /// Read the configuration again; all or nothing
    Reload,
}

/// Runs it.
pub fn run(args: &Admin) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failure(&error),
    };
    // As the server reads its own variable.
    let token = args
        .admin_token
        .as_deref()
        .map(|token| token.trim_end_matches(['\r', '\n']));
    match runtime.block_on(ask::ask(&args.admin, token, &request(&args.verb))) {
        Err(ask::Failure::Refused(sentence)) => usage_error(&sentence),
        Err(ask::Failure::Missing(sentence) | ask::Failure::Unreachable(sentence)) => {
            failure(&sentence)
        }
        Ok(answer) if args.json => print_result(
            &serde_json::to_string_pretty(&answer).unwrap_or_default(),
            ExitCode::SUCCESS,
        ),
        Ok(answer) => print_result(&show::table(&answer), ExitCode::SUCCESS),
    }
}

fn request(verb: &Verb) -> ask::Request {
    let one = |method: Method, path: String| ask::Request {
        method,
        path,
        body: String::new(),
    };
    match verb {
        Verb::List {
            user,
            realm,
            client,
            transport,
            limit,
            offset,
        } => {
            let filters = [
                ("user", user),
                ("realm", realm),
                ("client", client),
                ("transport", transport),
            ];
            let filters = filters
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_ref()?)));
            let query: String = filters
                .map(|(name, value)| format!("&{name}={}", ask::escaped(value)))
                .collect();
            one(
                Method::GET,
                format!("/allocations?limit={limit}&offset={offset}{query}"),
            )
        }
        Verb::Show { id } => one(Method::GET, format!("/allocations/{id}")),
        Verb::Close { id: Some(id), .. } => one(Method::DELETE, format!("/allocations/{id}")),
        Verb::Close { user, .. } => {
            let user = user.as_deref().unwrap_or_default();
            one(
                Method::DELETE,
                format!("/users/{}/allocations", ask::escaped(user)),
            )
        }
        Verb::Users => one(Method::GET, "/users".into()),
        Verb::Block { user, time } => one(
            Method::PUT,
            format!(
                "/users/{}/block?for={}ms",
                ask::escaped(user),
                time.as_millis()
            ),
        ),
        Verb::Unblock { user } => one(
            Method::DELETE,
            format!("/users/{}/block", ask::escaped(user)),
        ),
        Verb::Plan => one(Method::GET, "/plan".into()),
        Verb::Status => one(Method::GET, "/status".into()),
        Verb::LogLevel { filter: None } => one(Method::GET, "/log-level".into()),
        Verb::LogLevel {
            filter: Some(filter),
        } => ask::Request {
            method: Method::PUT,
            path: "/log-level".into(),
            body: filter.clone(),
        },
        Verb::Drain { deadline } => {
            let query = deadline
                .map(|time| format!("?deadline={}ms", time.as_millis()))
                .unwrap_or_default();
            one(Method::POST, format!("/drain{query}"))
        }
        Verb::Reload => one(Method::POST, "/reload".into()),
    }
}

fn admin_address(text: &str) -> Result<AdminAddress, String> {
    value::admin_address(text)
        .map_err(|error| error.to_string())?
        .ok_or_else(|| "a server whose listener is off cannot be looked after".into())
}

//! The tree of commands: their texts, and their flags from the table of settings.

use clap::{Arg, ArgAction, Command};

use crate::bench;
use crate::commands::prove_command;
use crate::settings::SETTINGS;

/// Everything that can be typed.
#[must_use]
pub fn command() -> Command {
    let read_on = "Every setting is also a variable of the environment and a key of freehold.toml \
                   in this folder; docs/operate.md lists them.";
    Command::new("freehold")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The back office of a B2B SaaS in one binary")
        .after_help(read_on)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(up().after_help(read_on))
        .subcommand(
            Command::new("serve")
                .about("Answer requests: a node of an installation with a database of its own")
                .long_about(
                    "Answers requests and leaves events, jobs and schedules to nodes that work. \
                     Makes nothing and guesses nothing: DATABASE_URL, FREEHOLD_SECRET_KEY and \
                     FREEHOLD_PUBLIC_URL must be set, and the schema must have been migrated.",
                )
                .args(arguments().filter(|argument| argument.get_id() == "listen"))
                .after_help(read_on),
        )
        .subcommand(
            Command::new("work")
                .about("Work on events, jobs and schedules: the other kind of node")
                .long_about(
                    "Delivers webhooks and works on everything else that requests leave to do. \
                     Answers nobody. DATABASE_URL and FREEHOLD_SECRET_KEY must be set.",
                )
                .after_help(read_on),
        )
        .subcommand(
            Command::new("migrate")
                .about("Bring a database's schema up to date, and make the roles it lacks")
                .long_about(
                    "Brings the schema of a database up to date, and makes the roles it lacks. \
                     Running it again changes nothing.\n\nReads DATABASE_OWNER_URL, the login of \
                     somebody who may make roles: a superuser, or a managed database's \
                     administrator. `freehold up` does this by itself for its private PostgreSQL.",
                ),
        )
        .subcommand(doctor().after_help(read_on))
        .subcommand(admin().after_help(read_on))
        .subcommand(
            Command::new("openapi").about("Print the API's OpenAPI 3.1 document").long_about(
                "Prints the API's OpenAPI 3.1 document as JSON. Needs no database; a running \
                     Freehold serves the same at /openapi.json and shows it at /docs.",
            ),
        )
        .subcommand(prove_command())
        .subcommand(bench::command())
}

/// The flags of settings that have one.
fn arguments() -> impl Iterator<Item = Arg> {
    SETTINGS.iter().filter_map(|setting| {
        let (flag, key) = (setting.flag.as_ref()?, setting.key?);
        let arg = Arg::new(key).long(flag.name).help(match flag.value {
            Some(_) => format!("{} [default: {}]", setting.meaning, setting.default),
            None => "Make no demo tenant at the first start.".to_owned(),
        });
        Some(match flag.value {
            Some(value) => arg.value_name(value),
            None => arg.action(ArgAction::SetTrue),
        })
    })
}

fn up() -> Command {
    Command::new("up")
        .about("Start everything on this computer; nothing has to be set up first")
        .long_about(
            "Starts everything on this computer. The first start makes a private PostgreSQL, a \
             secret key, an operator and a demo tenant, and prints their credentials; all of it \
             stays in one folder. Ctrl-C stops it, the database last.",
        )
        .args(arguments())
}

fn doctor() -> Command {
    Command::new("doctor")
        .about("Check everything a start needs, and say what to do about what is wrong")
        .long_about(
            "Checks settings, files, database and this computer, and says a line each: ok, warn or \
             fail, what was found, and what to do. Changes nothing, and shows no secret. Ends with \
             1 if anything has failed.\n\nGive it the settings of the node it is to judge: the \
             same environment, folder and flags.",
        )
        .arg(
            Arg::new("for")
                .long("for")
                .value_name("COMMAND")
                .value_parser(["up", "serve", "work"])
                .help("What the settings are for [default: serve with DATABASE_URL, else up]"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print one JSON document for programs"),
        )
        .args(arguments().filter(|argument| argument.get_id() != "demo"))
}

fn admin() -> Command {
    let email = || {
        Arg::new("email").value_name("EMAIL").required(true).help("The address they sign in with")
    };
    let name = Arg::new("name").long("name").value_name("NAME");
    let now = Arg::new("now").long("now").action(ArgAction::SetTrue).required(true);
    let operator = Command::new("operator")
        .about("Who runs this installation")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("add")
                .about("Make somebody an operator; whoever has no account gets one and a password")
                .arg(email())
                .arg(name.help("What to call somebody who has no account yet [default: Operator]")),
        )
        .subcommand(Command::new("list").about("List the operators"))
        .subcommand(
            Command::new("remove")
                .about("Unmake an operator; their sessions and keys on the platform end at once")
                .arg(email()),
        );
    let sessions = Command::new("sessions")
        .about("Where people are signed in")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("revoke").about("Sign somebody out everywhere, at once").arg(email()),
        );
    Command::new("admin")
        .about("Operators, sessions and signing keys, from the computer that runs Freehold")
        .long_about(
            "Acts on an installation with the settings of its nodes: DATABASE_URL and \
             FREEHOLD_SECRET_KEY, or the folder of `freehold up`, running or not. Every change is \
             in the audit log, with `system` as its actor.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(
            arguments().filter(|argument| argument.get_id() == "data_dir").map(|a| a.global(true)),
        )
        .subcommand(operator)
        .subcommand(sessions)
        .subcommand(
            Command::new("rotate-keys")
                .about("Sign access tokens with a new key, and withdraw every other one")
                .long_about(
                    "Makes a new key that signs access tokens, and withdraws every other one: \
                     tokens that they signed are refused by all nodes within a second, and people \
                     go on by refreshing their sessions. For a key that may have leaked; without \
                     cause there is nothing to do, nodes change their keys by themselves.",
                )
                .arg(now.help("Withdraw the other keys at once; there is no slower way by hand")),
        )
}

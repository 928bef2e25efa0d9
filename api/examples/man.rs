//! Prints the manual page of `kvd`: `cargo run -p api --example man > kvd.8`

use std::io;

use api::Config;
use clap::CommandFactory;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

fn main() -> io::Result<()> {
    let out = &mut io::stdout();
    let man = Man::new(Config::command()).section("8");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    let mut more = Roff::new();
    for (section, entries) in MORE {
        more.control("SH", [section]);
        for &(term, meaning) in entries {
            more.control("TP", []);
            more.text([bold(term)]);
            more.text([roman(meaning)]);
        }
    }
    more.to_writer(out)
}

type Section = (&'static str, &'static [(&'static str, &'static str)]);

/// What the options do not tell.
const MORE: [Section; 4] = [
    (
        "SIGNALS",
        &[(
            "SIGTERM, SIGINT",
            "Turns not ready, goes on serving for SHUTDOWN_DELAY, then takes no new connection, \
             answers the requests under way within SHUTDOWN_GRACE, and ends.",
        )],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "Told to end."),
            ("1", "It could not start, or not go on."),
            ("2", "A mistake in the configuration."),
        ],
    ),
    (
        "FILES",
        &[
            ("/etc/kvd/kvd.env", "The settings of the service."),
            ("/var/lib/kvd", "Its embedded database, if it has one."),
        ],
    ),
    ("SEE ALSO", &[("kvctl(1)", "the admin tool")]),
];

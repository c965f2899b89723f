//! Standings as metrics for Prometheus, in the text format that node_exporter's textfile collector
//! reads.
//!
//! Times are seconds since 1970, so that alerts compute ages themselves. All samples of a metric
//! stand together below one description, as the format demands.

use std::fmt::Write as _;

use super::Time;
use super::standing::Standing;

/// The labels and the value of a sample.
type Sample = (Vec<(&'static str, String)>, f64);

/// A metric: name, description, and its samples in one standing.
struct Metric {
    name: &'static str,
    about: &'static str,
    samples: fn(&Standing) -> Vec<Sample>,
}

static METRICS: &[Metric] = &[
    Metric {
        name: "fastness_health",
        about: "0 when all is as it should be, 1 when somebody should look, 2 when backups fail.",
        samples: |standing| one(Some(f64::from(standing.health as u8))),
    },
    Metric {
        name: "fastness_last_success_timestamp_seconds",
        about: "When an archive was last made.",
        samples: |standing| one(standing.last_success.map(seconds)),
    },
    Metric {
        name: "fastness_last_run_timestamp_seconds",
        about: "When the last run was over.",
        samples: |standing| one(standing.last_run.as_ref().map(|run| seconds(run.end))),
    },
    Metric {
        name: "fastness_last_run_success",
        about: "Whether the last run went well.",
        samples: |standing| {
            let run = standing.last_run.as_ref();
            one(run.map(|run| f64::from(u8::from(run.succeeded()))))
        },
    },
    Metric {
        name: "fastness_last_run_duration_seconds",
        about: "How long the last run took.",
        samples: |standing| {
            let run = standing.last_run.as_ref();
            one(run.map(|run| run.end.since(run.begin).as_secs_f64()))
        },
    },
    Metric {
        name: "fastness_last_run_warnings",
        about: "Warnings of the last run by kind.",
        samples: |standing| {
            let warnings = standing.last_run.iter().flat_map(|run| &run.warnings);
            let of = |(kind, count): (&String, &u64)| labelled("kind", kind, *count as f64);
            warnings.map(of).collect()
        },
    },
    Metric {
        name: "fastness_failures",
        about: "Runs that failed since the last one that went well, by kind of trouble.",
        samples: |standing| {
            let kinds = standing.failures.kinds.iter();
            kinds
                .map(|(kind, count)| labelled("kind", kind, *count as f64))
                .collect()
        },
    },
    Metric {
        name: "fastness_action_last_success_timestamp_seconds",
        about: "When each action was last done.",
        samples: |standing| {
            let actions = standing.actions.iter();
            let of = |(name, action): (&String, &super::record::ActionRecord)| {
                Some(labelled("action", name, seconds(action.last_success?)))
            };
            actions.filter_map(of).collect()
        },
    },
    Metric {
        name: "fastness_action_duration_seconds",
        about: "How long each action took when it was last done.",
        samples: |standing| {
            let actions = standing.actions.iter();
            let done = actions.filter(|(_, action)| action.last_success.is_some());
            done.map(|(name, action)| labelled("action", name, action.milliseconds as f64 / 1000.0))
                .collect()
        },
    },
    Metric {
        name: "fastness_action_failures",
        about: "How often each action failed since it was last done.",
        samples: |standing| {
            let actions = standing.actions.iter();
            actions
                .map(|(name, action)| labelled("action", name, action.failures as f64))
                .collect()
        },
    },
    Metric {
        name: "fastness_archive_files",
        about: "Files in the newest archive.",
        samples: |standing| one(archive(standing, |facts| facts.files)),
    },
    Metric {
        name: "fastness_archive_original_bytes",
        about: "Bytes of all files of the newest archive.",
        samples: |standing| one(archive(standing, |facts| facts.original_bytes)),
    },
    Metric {
        name: "fastness_archive_compressed_bytes",
        about: "Bytes that the newest archive would take by itself.",
        samples: |standing| one(archive(standing, |facts| facts.compressed_bytes)),
    },
    Metric {
        name: "fastness_archive_deduplicated_bytes",
        about: "Bytes that the newest archive added to the repository.",
        samples: |standing| one(archive(standing, |facts| facts.deduplicated_bytes)),
    },
    Metric {
        name: "fastness_repository_stored_bytes",
        about: "Bytes of all data in the repository.",
        samples: |standing| one(archive(standing, |facts| facts.repository_bytes)),
    },
    Metric {
        name: "fastness_check_last_success_timestamp_seconds",
        about: "When each check last found nothing.",
        samples: |standing| {
            let checks = standing.checks.iter();
            let of = |(name, check): (&String, &super::standing::CheckStanding)| {
                Some(labelled("check", name, seconds(check.last?)))
            };
            checks.filter_map(of).collect()
        },
    },
    Metric {
        name: "fastness_database_last_success_timestamp_seconds",
        about: "When each database was last saved.",
        samples: |standing| {
            let databases = standing.databases.iter();
            let of = |(name, database): (&String, &super::record::DatabaseRecord)| {
                Some(labelled("database", name, seconds(database.last_success?)))
            };
            databases.filter_map(of).collect()
        },
    },
    Metric {
        name: "fastness_database_failed",
        about: "Whether a database was not saved the last time.",
        samples: |standing| {
            let databases = standing.databases.iter();
            databases
                .map(|(name, database)| {
                    let failed = u8::from(database.error.is_some());
                    labelled("database", name, f64::from(failed))
                })
                .collect()
        },
    },
    Metric {
        name: "fastness_database_bytes",
        about: "Bytes of the last dump of each database.",
        samples: |standing| {
            let databases = standing.databases.iter();
            let of = |(name, database): (&String, &super::record::DatabaseRecord)| {
                Some(labelled("database", name, database.bytes? as f64))
            };
            databases.filter_map(of).collect()
        },
    },
    Metric {
        name: "fastness_missed_runs",
        about: "Scheduled runs that did not happen since the last one.",
        samples: |standing| one(Some(standing.missed_runs as f64)),
    },
    Metric {
        name: "fastness_next_run_timestamp_seconds",
        about: "When the next archive is due.",
        samples: |standing| one(standing.next_run.map(seconds)),
    },
];

fn seconds(time: Time) -> f64 {
    time.0 as f64
}

fn one(value: Option<f64>) -> Vec<Sample> {
    value.map(|value| (Vec::new(), value)).into_iter().collect()
}

fn labelled(label: &'static str, name: &str, value: f64) -> Sample {
    (vec![(label, name.to_owned())], value)
}

fn archive(standing: &Standing, fact: fn(&super::ArchiveReport) -> u64) -> Option<f64> {
    let archive = standing.archive.as_ref()?;
    Some(fact(&archive.facts) as f64)
}

/// Writes all metrics.
pub fn text(standings: &[Standing]) -> String {
    let mut text = String::new();
    for metric in METRICS {
        let name = metric.name;
        let mut begun = false;
        for standing in standings {
            for (labels, value) in (metric.samples)(standing) {
                if !begun {
                    // A string takes everything.
                    let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} gauge", metric.about);
                    begun = true;
                }
                let own = [
                    ("configuration", standing.configuration.clone()),
                    ("repository", standing.name().to_owned()),
                ];
                let labels = own.into_iter().chain(labels);
                let labels: Vec<String> = labels
                    .map(|(label, value)| format!("{label}=\"{}\"", escaped(&value)))
                    .collect();
                let _ = writeln!(text, "{name}{{{}}} {value}", labels.join(","));
            }
        }
    }
    text
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

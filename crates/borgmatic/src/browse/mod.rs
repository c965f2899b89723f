//! `browse`: repositories, archives, directories and files on a terminal.
//!
//! ```text
//! keys ─► model ─► wish ─► worker (Borg commands, a thread) ─► news ─► model ─► screen
//! ```

mod model;
mod screen;
mod terminal;
mod tree;
mod worker;

use std::io::IsTerminal;
use std::time::Duration;

use crate::config::{Configuration, Repository};
use model::Model;
use terminal::Terminal;

/// How often is looked for news while no key is pressed.
const TICK: Duration = Duration::from_millis(50);

/// Shows the repositories of these configurations until the person leaves.
///
/// # Errors
/// When there is no terminal.
pub fn run(configurations: &[Configuration]) -> Result<(), String> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err("browse needs a terminal; list and extract do without one".to_owned());
    }
    let repositories = configurations.iter().flat_map(|file| &file.repositories);
    let repositories: Vec<Repository> = repositories.cloned().collect();
    let names = repositories.iter().map(|repository| {
        let label = repository.label.clone();
        [
            label.unwrap_or_else(|| repository.path.clone()),
            repository.path.clone(),
        ]
    });
    let model = Model::new(names.collect());
    show(model, repositories).map_err(|error| error.to_string())
}

fn show(mut model: Model, repositories: Vec<Repository>) -> std::io::Result<()> {
    let mut terminal = Terminal::begin()?;
    let (wishes, news) = worker::start(repositories);
    while !model.over {
        let (width, height) = terminal.size();
        model.height = screen::page_height(height);
        terminal.draw(&screen::rows(&model, width, height))?;
        if let Some(key) = terminal.key(TICK)?
            && let Some(wish) = model.key(key)
        {
            // The thread lives as long as its wishes are sent.
            let _ = wishes.send(wish);
        }
        if let Ok(news) = news.try_recv() {
            model.take(news);
        }
    }
    Ok(())
}

//! What is on the screen, and what keys do to it. Nothing here draws, waits or reads a repository:
//! what has to be fetched is a [`Wish`], and comes back as [`News`].

use std::collections::BTreeSet;
use std::rc::Rc;

use super::tree::{Place, Tree};

/// A key that means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// To the line above.
    Up,
    /// To the line below.
    Down,
    /// A screen up.
    PageUp,
    /// A screen down.
    PageDown,
    /// To the first line.
    Home,
    /// To the last line.
    End,
    /// Into what is chosen.
    Enter,
    /// Back.
    Back,
    /// Another character, as typed.
    Char(char),
    /// Take back a typed character.
    Erase,
    /// Leave.
    Quit,
}

/// Something that has to be fetched or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// The archives of a repository, by its place among all.
    Archives(usize),
    /// The files of an archive.
    Files(usize, String),
    /// The beginning of a file.
    Content(usize, String, Vec<u8>),
    /// Restore these paths to a directory.
    Extract(usize, String, Vec<Vec<u8>>, String),
}

/// What came of a wish.
#[derive(Debug)]
pub enum News {
    /// Names and times of archives, newest last.
    Archives(Vec<[String; 2]>),
    /// The files of an archive.
    Files(Tree),
    /// The beginning of a file.
    Content(Vec<u8>),
    /// It is done.
    Done(String),
    /// It did not work.
    Failed(String),
}

/// What fills the screen; each lies on what it was opened from.
#[derive(Debug)]
pub enum Page {
    /// All repositories.
    Repositories,
    /// The archives of one, newest first: name and time.
    Archives(Vec<[String; 2]>),
    /// A directory of an archive.
    Directory(Rc<Tree>, Place),
    /// The beginning of a file, in lines.
    Content(Vec<u8>, Vec<String>),
}

/// A page with the line that is chosen on it.
#[derive(Debug)]
pub struct Layer {
    /// What is on it.
    pub page: Page,
    /// The chosen line.
    pub line: usize,
    /// The first line that is shown.
    pub top: usize,
}

/// All that the screen shows.
#[derive(Debug)]
pub struct Model {
    /// Names of the repositories, each with its address.
    pub repositories: Vec<[String; 2]>,
    /// Pages, the shown one last.
    pub layers: Vec<Layer>,
    /// What is being fetched.
    pub waiting: Option<&'static str>,
    /// The last line: what happened, or what went wrong.
    pub message: String,
    /// The directory that is typed for an extraction.
    pub typed: Option<String>,
    /// Entries that are to be extracted.
    pub marked: BTreeSet<Place>,
    /// Lines that fit on the screen.
    pub height: usize,
    /// Whether the end was asked for.
    pub over: bool,
    repository: usize,
    archive: String,
}

impl Model {
    /// Begins with the repositories.
    pub fn new(repositories: Vec<[String; 2]>) -> Self {
        Self {
            repositories,
            layers: vec![layer(Page::Repositories)],
            waiting: None,
            message: String::new(),
            typed: None,
            marked: BTreeSet::new(),
            height: 1,
            over: false,
            repository: 0,
            archive: String::new(),
        }
    }

    /// How many lines the shown page has.
    pub fn lines(&self) -> usize {
        match self.layers.last().map(|layer| &layer.page) {
            Some(Page::Repositories) => self.repositories.len(),
            Some(Page::Archives(archives)) => archives.len(),
            Some(Page::Directory(tree, place)) => tree.get(*place).children.len(),
            Some(Page::Content(_, lines)) => lines.len(),
            None => 0,
        }
    }

    /// Where the shown page is: repository, archive, path.
    pub fn title(&self) -> String {
        let repository = self.repositories.get(self.repository);
        let repository = repository.map_or("", |[name, _]| name.as_str());
        let path = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        match self.layers.last().map(|layer| &layer.page) {
            Some(Page::Repositories) | None => "Repositories".to_owned(),
            Some(Page::Archives(_)) => repository.to_owned(),
            Some(Page::Directory(tree, place)) => {
                let (archive, path) = (&self.archive, path(&tree.path(*place)));
                format!("{repository}  {archive}  /{path}")
            }
            Some(Page::Content(file, _)) => {
                format!("{repository}  {}  /{}", self.archive, path(file))
            }
        }
    }

    /// Does what a key says; what it needs for that is returned.
    pub fn key(&mut self, key: Key) -> Option<Wish> {
        if key == Key::Quit {
            self.over = true;
            return None;
        }
        if self.typed.is_some() {
            return self.type_directory(key);
        }
        let (page, last) = (self.height.max(1), self.lines().saturating_sub(1));
        let layer = self.layers.last_mut()?;
        // A text has no chosen line: keys move it as a whole.
        let reading = matches!(layer.page, Page::Content(..));
        let most = if reading {
            last.saturating_sub(page - 1)
        } else {
            last
        };
        layer.line = match key {
            Key::Up | Key::Char('k') => layer.line.saturating_sub(1),
            Key::Down | Key::Char('j') => layer.line.saturating_add(1),
            Key::PageUp => layer.line.saturating_sub(page),
            Key::PageDown => layer.line.saturating_add(page),
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => most,
            _ => layer.line,
        }
        .min(most);
        layer.top = match reading {
            true => layer.line,
            false => layer
                .top
                .clamp((layer.line + 1).saturating_sub(page), layer.line),
        };
        match key {
            Key::Enter | Key::Char('l') => self.enter(),
            Key::Back | Key::Erase | Key::Char('h') => {
                self.back();
                None
            }
            Key::Char(' ') => {
                self.mark();
                None
            }
            Key::Char('x') => {
                self.ask_directory();
                None
            }
            Key::Char('q') => {
                self.over = true;
                None
            }
            _ => None,
        }
    }

    /// The entry that is chosen, if the page shows a directory.
    fn chosen(&self) -> Option<(Rc<Tree>, Place)> {
        let layer = self.layers.last()?;
        let Page::Directory(tree, place) = &layer.page else {
            return None;
        };
        let chosen = tree.get(*place).children.get(layer.line)?;
        Some((Rc::clone(tree), *chosen))
    }

    fn enter(&mut self) -> Option<Wish> {
        if self.waiting.is_some() {
            return None;
        }
        self.message.clear();
        if let Some((tree, place)) = self.chosen() {
            let entry = tree.get(place);
            if entry.is_directory() {
                self.layers.push(layer(Page::Directory(tree, place)));
            } else if entry.is_file() {
                self.waiting = Some("reading the file");
                let path = tree.path(place);
                return Some(Wish::Content(self.repository, self.archive.clone(), path));
            } else {
                self.message = "there is nothing to read in it".to_owned();
            }
            return None;
        }
        let layer = self.layers.last()?;
        match &layer.page {
            Page::Repositories if layer.line < self.repositories.len() => {
                self.repository = layer.line;
                self.waiting = Some("listing archives");
                Some(Wish::Archives(layer.line))
            }
            Page::Archives(archives) => {
                let [name, _] = archives.get(layer.line)?.clone();
                self.archive.clone_from(&name);
                self.marked.clear();
                self.waiting = Some("listing files");
                Some(Wish::Files(self.repository, name))
            }
            _ => None,
        }
    }

    fn back(&mut self) {
        self.message.clear();
        if self.layers.len() > 1 && self.waiting.is_none() {
            self.layers.pop();
        }
    }

    fn mark(&mut self) {
        if let Some((_, place)) = self.chosen() {
            if !self.marked.remove(&place) {
                self.marked.insert(place);
            }
            // On to the next, as in other programs with marks.
            let _ = self.key(Key::Down);
        }
    }

    fn ask_directory(&mut self) {
        if self.waiting.is_none() && self.chosen().is_some() {
            self.typed = Some(String::new());
            self.message.clear();
        }
    }

    fn type_directory(&mut self, key: Key) -> Option<Wish> {
        let typed = self.typed.as_mut()?;
        match key {
            Key::Char(c) => typed.push(c),
            Key::Erase => drop(typed.pop()),
            Key::Back => self.typed = None,
            Key::Enter if !typed.trim().is_empty() => {
                let directory = typed.trim().to_owned();
                self.typed = None;
                return self.extract(directory);
            }
            _ => {}
        }
        None
    }

    fn extract(&mut self, directory: String) -> Option<Wish> {
        let (tree, chosen) = self.chosen()?;
        let places = match self.marked.is_empty() {
            true => BTreeSet::from([chosen]),
            false => self.marked.clone(),
        };
        let paths = places.iter().map(|place| tree.path(*place)).collect();
        self.waiting = Some("extracting");
        let archive = self.archive.clone();
        Some(Wish::Extract(self.repository, archive, paths, directory))
    }

    /// Takes in what came of a wish.
    pub fn take(&mut self, news: News) {
        self.waiting = None;
        match news {
            News::Archives(mut archives) => {
                archives.reverse();
                if archives.is_empty() {
                    self.message = "the repository has no archives".to_owned();
                }
                self.layers.push(layer(Page::Archives(archives)));
            }
            News::Files(tree) => {
                self.message = format!("{} files and directories", tree.len());
                self.layers.push(layer(Page::Directory(Rc::new(tree), 0)));
            }
            News::Content(content) => {
                let path = self.chosen().map(|(tree, place)| tree.path(place));
                let lines = text(&content);
                self.layers
                    .push(layer(Page::Content(path.unwrap_or_default(), lines)));
            }
            News::Done(text) => {
                self.marked.clear();
                self.message = text;
            }
            News::Failed(text) => self.message = text,
        }
    }
}

fn layer(page: Page) -> Layer {
    Layer {
        page,
        line: 0,
        top: 0,
    }
}

/// The lines of a file, or that it has none.
fn text(content: &[u8]) -> Vec<String> {
    if content.contains(&0) {
        return vec!["(this is no text)".to_owned()];
    }
    let text = String::from_utf8_lossy(content);
    let shown = |line: &str| {
        let line = line.replace('\t', "    ");
        line.chars().filter(|c| !c.is_control()).collect()
    };
    text.lines().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_archive() -> Model {
        let mut model = Model::new(vec![["nas".into(), "/srv/nas".into()]]);
        model.height = 10;
        assert_eq!(model.key(Key::Enter), Some(Wish::Archives(0)));
        model.take(News::Archives(vec![
            ["old".into(), "2026".into()],
            ["new".into(), "2027".into()],
        ]));
        assert_eq!(model.key(Key::Enter), Some(Wish::Files(0, "new".into())));
        let listing = [
            ["drwxr-xr-x", "0", "", "root", "etc", ""],
            ["-rw-r--r--", "3", "", "root", "etc/b", ""],
            ["-rw-r--r--", "3", "", "root", "etc/a", ""],
        ];
        let listing: String = listing
            .as_flattened()
            .iter()
            .flat_map(|f| [*f, "\0"])
            .collect();
        model.take(News::Files(Tree::read(listing.as_bytes())));
        model
    }

    #[test]
    fn one_walks_from_repositories_to_the_content_of_a_file_and_back() {
        let mut model = in_archive();
        assert_eq!(model.key(Key::Enter), None);
        assert_eq!(model.title(), "nas  new  /etc");
        assert_eq!(model.key(Key::Down), None);
        let wish = Wish::Content(0, "new".into(), b"etc/b".to_vec());
        assert_eq!(model.key(Key::Enter), Some(wish));
        model.take(News::Content(b"one\n\ttwo\x1b[31m\n".to_vec()));
        assert_eq!(model.lines(), 2);
        assert_eq!(model.title(), "nas  new  /etc/b");
        for _ in 0..4 {
            let _ = model.key(Key::Back);
        }
        assert_eq!(model.title(), "Repositories");
        let _ = model.key(Key::Back);
        assert_eq!(model.layers.len(), 1);
    }

    #[test]
    fn what_is_marked_is_extracted_or_else_what_is_chosen() {
        let mut model = in_archive();
        let _ = model.key(Key::Enter);
        let _ = model.key(Key::Char('x'));
        for c in "/tmp/qx".chars() {
            assert_eq!(model.key(Key::Char(c)), None);
        }
        let _ = model.key(Key::Erase);
        let wish = model.key(Key::Enter);
        let chosen = Wish::Extract(0, "new".into(), vec![b"etc/a".to_vec()], "/tmp/q".into());
        assert_eq!(wish, Some(chosen));
        model.take(News::Done("extracted".into()));
        for key in [
            Key::Home,
            Key::Char(' '),
            Key::Char(' '),
            Key::Char('x'),
            Key::Char('d'),
        ] {
            let _ = model.key(key);
        }
        let Some(Wish::Extract(_, _, paths, _)) = model.key(Key::Enter) else {
            panic!("nothing is extracted");
        };
        assert_eq!(paths.len(), 2);
    }

    #[test]
    fn a_failure_is_told_and_changes_nothing_else() {
        let mut model = Model::new(vec![["nas".into(), String::new()]]);
        let _ = model.key(Key::Enter);
        assert_eq!(model.key(Key::Enter), None, "one wish at a time");
        model.take(News::Failed("no route".into()));
        assert_eq!(
            (model.message.as_str(), model.layers.len()),
            ("no route", 1)
        );
        assert!(model.waiting.is_none());
    }
}

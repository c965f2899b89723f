//! `init`: a new repository.

use std::ffi::OsString;
use std::path::PathBuf;

use fastness_engine::cache::ChunkTable;
use fastness_engine::init::init;
use fastness_engine::keys::Related;
use fastness_format::crypto::{KeyType, RelatedSecrets};
use fastness_format::id::RepositoryId;
use fastness_repository::Repository;
use fastness_repository::local::lock::LockKind;
use fastness_repository::local::{CreateOptions, LocalRepository};
use fastness_repository::remote::client::NewRemote;

use crate::access::{EarlyChunks, Opened, Place};
use crate::commands::Action;
use crate::context::Context;
use crate::error::CommandError;
use crate::options::CommonOptions;
use crate::options::values::storage_quota;

/// Initialize a new repository
///
/// The repository is a directory that is made for it. Its data is encrypted by a key, and the
/// key by a passphrase; without both, nothing in it can ever be read again. Export the key and
/// keep it, with the passphrase, at another place.
///
/// MODE says where the key is and which hash makes the ids of chunks:
///
///   repokey-blake2, repokey               the key is in the repository
///   keyfile-blake2, keyfile               the key is in a file of this user
///   authenticated-blake2, authenticated   not encrypted, but protected against changes
///   none                                  neither
///
/// The blake2 modes are faster on machines without SHA instructions.
#[derive(Clone, Debug, clap::Parser)]
pub struct Init {
    /// The new repository
    #[arg(value_name = "REPOSITORY")]
    location: Option<OsString>,
    /// How data is encrypted and authenticated
    #[arg(short, long, value_name = "MODE", value_parser = [
        "none", "keyfile", "repokey", "keyfile-blake2", "repokey-blake2", "authenticated",
        "authenticated-blake2",
    ])]
    encryption: String,
    /// Keep everything ever written: what is deleted stays until the mode is changed
    #[arg(long)]
    append_only: bool,
    /// Let the repository grow to QUOTA (5G, 1.5T) and no further
    #[arg(long, value_name = "QUOTA", value_parser = storage_quota)]
    storage_quota: Option<u64>,
    /// Also make the directories above the repository
    #[arg(long)]
    make_parent_dirs: bool,
    /// Share the ids and cuts of chunks with the repository whose secrets are in PATH
    #[arg(long, value_name = "PATH")]
    import_related_secrets: Option<PathBuf>,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

/// What to do with a new key; the words in capitals are looked for by other programs.
const IMPORTANT: &str = "
IMPORTANT: you will need both KEY AND PASSPHRASE to access this repo!

Where the key is depends on the mode:
- repokey modes: in the repository directory.
- keyfile modes: in the home directory of this user.

In any mode:
1. Export the key and keep it at another, safe place:
   borg key export           REPOSITORY encrypted-key-backup
   borg key export --paper   REPOSITORY encrypted-key-backup.txt
   borg key export --qr-html REPOSITORY encrypted-key-backup.html
2. Write the passphrase down and keep it at a safe place, too.
";

impl Action for Init {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(self.location.as_deref())?;
        let key_type = KeyType::from_argument(&self.encryption).ok_or_else(|| {
            CommandError::usage(format!("argument -e/--encryption: {}", self.encryption))
        })?;
        let related = self.related()?;
        context.info(format!("Initializing repository at \"{}\"", place.name));
        let repository = self.new_repository(context, &place)?;
        let security = context.security(&place, repository.id());
        let related = related.as_ref().map(|related| Related {
            key_type: related.key_type,
            secrets: &related.secrets,
        });
        let made = init(
            repository,
            &context.key_context(&place),
            &security,
            key_type,
            related.as_ref(),
            crate::world::real(),
        );
        let session = made.map_err(|(mut repository, error)| {
            // Nobody could open it; the error that matters is the one before.
            let _ = repository.destroy();
            CommandError::from(error)
        })?;
        let mut opened = Opened {
            session,
            place,
            early_chunks: EarlyChunks::default(),
        };
        // Nothing refers to anything yet, which need not be counted.
        context.save_chunks(&opened, &ChunkTable::new());
        opened.session.repository.close()?;
        if key_type != KeyType::Plaintext {
            context.warning(IMPORTANT.trim_end());
        }
        Ok(())
    }
}

/// Secrets of another repository, as they were read.
struct OtherSecrets {
    key_type: KeyType,
    secrets: RelatedSecrets,
}

impl Init {
    fn new_repository(
        &self,
        context: &Context<'_>,
        place: &Place,
    ) -> Result<Box<dyn Repository>, CommandError> {
        let storage_quota = self.storage_quota.filter(|quota| *quota > 0);
        let Some(path) = &place.path else {
            let new = NewRemote {
                append_only: self.append_only,
                make_parent_dirs: self.make_parent_dirs,
            };
            let made = context.create_remote(&place.location, new, storage_quota)?;
            return Ok(Box::new(made));
        };
        let mut id = [0; 32];
        let world = crate::world::real();
        world.random.fill(&mut id).map_err(|error| {
            CommandError::general(format!(
                "no random bytes: {}",
                crate::error::system_text(&error)
            ))
        })?;
        let new = CreateOptions {
            id: RepositoryId::new(id),
            append_only: self.append_only,
            storage_quota,
            make_parent_dirs: self.make_parent_dirs,
        };
        let options = context.open_options(Some(LockKind::Exclusive));
        Ok(Box::new(LocalRepository::create(path, &new, options)?))
    }

    fn related(&self) -> Result<Option<OtherSecrets>, CommandError> {
        let Some(path) = &self.import_related_secrets else {
            return Ok(None);
        };
        let name = path.display();
        let text = if path.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin())
        } else {
            std::fs::read_to_string(path)
        };
        let text = text
            .map_err(|error| CommandError::general(crate::error::errno_text(&error, Some(path))))?;
        let json: serde_json::Value = serde_json::from_str(&text).map_err(|_| {
            CommandError::command(format!("Invalid JSON in related secrets file: {name}"))
        })?;
        let version = json.get("version").cloned().unwrap_or_default();
        if version != 1 {
            let version = if version.is_null() {
                "None".to_owned()
            } else {
                version.to_string()
            };
            return Err(CommandError::command(format!(
                "Unsupported related secrets version: {version}"
            )));
        }
        secrets(&json).map(Some).ok_or_else(|| {
            CommandError::command(format!("Invalid id_key in related secrets file: {name}"))
        })
    }
}

fn secrets(json: &serde_json::Value) -> Option<OtherSecrets> {
    let id_key = hex(json.get("id_key")?.as_str()?)?;
    let chunk_seed = i32::try_from(json.get("chunk_seed")?.as_i64()?).ok()?;
    let name = json.get("key_name")?.as_str()?;
    let key_type = KeyType::CREATABLE
        .into_iter()
        .find(|known| known.name() == name)?;
    Some(OtherSecrets {
        key_type,
        secrets: RelatedSecrets { id_key, chunk_seed },
    })
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    digits
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect()
}

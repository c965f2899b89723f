//! The bytes of a BorgBackup 1.x repository, as values and back.
//!
//! Pure: no files, no clock, no environment, no threads, no random numbers. Everything here is a
//! function from bytes to values or the other way round, so that it can be tested against golden
//! data and fuzzed.
//!
//! | in the repository or on the client | module |
//! |---|---|
//! | every msgpack value | [`msgpack`] |
//! | ids and numbers | [`id`] |
//! | addresses of repositories and archives | [`location`] |
//! | `lock.roster`, names in `lock.exclusive` | [`lock_roster`] |
//! | `config` | [`repository_config`] |
//! | `data/D/N` | [`segment`] |
//! | `index.T`, `chunks` of Borg's cache | [`hash_index`] |
//! | `config` of Borg's cache | [`cache_config`] |
//! | `hints.T` | [`hints`] |
//! | `integrity.T` | [`integrity`] |
//! | compressed payloads | [`compress`] |
//! | key blobs, key files, the envelope of objects, authentication | [`crypto`] |
//! | what an archive says about each file | [`item`] |
//! | an archive's own metadata | [`archive`] |
//! | the texts of times | [`timestamp`] |
//! | the list of archives | [`manifest`] |
//! | how files and item streams are cut into chunks | [`chunker`] |
//! | messages between a client and `serve` | [`rpc`] |

pub mod archive;
pub mod cache_config;
pub mod chunker;
pub mod compress;
pub mod crypto;
pub mod hash_index;
pub mod hints;
pub mod id;
pub mod integrity;
pub mod item;
pub mod location;
pub mod lock_roster;
pub mod manifest;
pub mod msgpack;
pub mod repository_config;
pub mod rpc;
pub mod segment;
pub mod timestamp;

//! The WebSocket's control messages (`protocol.md` §3). Content travels beside them, in binary frames.

use std::borrow::Cow;
use std::ops::Deref;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{limits, number, secret};
use crate::ids::{Cursor, Uid, VaultId};

/// What a client sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum ClientMessage {
    /// Opens the session.
    Init(Init),
    /// Asks for a record's content.
    Pull {
        /// The record.
        #[serde(deserialize_with = "lenient_uid")]
        uid: Uid,
    },
    /// Announces a new record.
    Push(Push),
    /// Asks for a sign of life.
    Ping,
    /// Asks for the deleted files.
    Deleted {
        /// Leave out the old names of renamed files.
        #[serde(default)]
        suppressrenames: bool,
    },
    /// Asks for the earlier records of a path, newest first.
    History {
        /// The encoded path.
        path: String,
        /// Only records before this one.
        #[serde(default)]
        last: Option<u64>,
    },
    /// Makes an earlier record the newest again.
    Restore {
        /// The earlier record.
        #[serde(deserialize_with = "lenient_uid")]
        uid: Uid,
    },
    /// Asks how much is stored.
    Size,
    /// Asks for the names of a shared vault's users.
    Usernames,
}

fn lenient_uid<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Uid, D::Error> {
    number::unsigned(deserializer).map(Uid)
}

fn lenient_cursor<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Cursor, D::Error> {
    number::unsigned(deserializer).map(Cursor)
}

/// The first message of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Init {
    /// Stands for the account.
    #[serde(serialize_with = "secret::serialize")]
    pub token: SecretString,
    /// The vault.
    pub id: VaultId,
    /// Stands for the key.
    #[serde(serialize_with = "secret::serialize")]
    pub keyhash: SecretString,
    /// Send the records after this one.
    #[serde(rename = "version", deserialize_with = "lenient_cursor")]
    pub cursor: Cursor,
    /// With [`Cursor::START`]: the whole vault.
    pub initial: bool,
    /// Shown in the vault's version history.
    pub device: String,
    /// 0, 2 or 3.
    #[serde(default)]
    pub encryption_version: u8,
}

/// A new record, before the service has numbered it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Push {
    /// The encoded path.
    pub path: String,
    /// The encoded earlier path, for a rename.
    #[serde(default)]
    pub relatedpath: Option<String>,
    /// The path's extension, in plain text.
    #[serde(default)]
    pub extension: String,
    /// The encoded content hash, or `""`.
    #[serde(default)]
    pub hash: Option<String>,
    /// Creation time, ms since 1970.
    #[serde(default, deserialize_with = "number::signed")]
    pub ctime: i64,
    /// Modification time, ms since 1970.
    #[serde(default, deserialize_with = "number::signed")]
    pub mtime: i64,
    /// A folder, which has no content.
    #[serde(default)]
    pub folder: bool,
    /// The path is no more.
    #[serde(default)]
    pub deleted: bool,
    /// Bytes of ciphertext.
    #[serde(default, deserialize_with = "number::unsigned")]
    pub size: u64,
    /// Binary frames that will carry them.
    #[serde(default, deserialize_with = "number::unsigned")]
    pub pieces: u64,
}

/// One record of a vault's history: what became of one path at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number; the highest of a path counts.
    #[serde(deserialize_with = "lenient_uid")]
    pub uid: Uid,
    /// The encoded path.
    pub path: String,
    /// The encoded content hash, or `""`.
    #[serde(default, deserialize_with = "number::or_default")]
    pub hash: String,
    /// Bytes of ciphertext.
    #[serde(default, deserialize_with = "number::unsigned")]
    pub size: u64,
    /// Creation time, ms since 1970; 0 for folders.
    #[serde(default, deserialize_with = "number::signed")]
    pub ctime: i64,
    /// Modification time, ms since 1970; 0 for folders.
    #[serde(default, deserialize_with = "number::signed")]
    pub mtime: i64,
    /// A folder, which has no content.
    #[serde(default)]
    pub folder: bool,
    /// The path is no more.
    #[serde(default)]
    pub deleted: bool,
    /// The device that made the record.
    #[serde(default, deserialize_with = "number::or_default")]
    pub device: String,
    /// The user that made the record, in a shared vault.
    #[serde(default, deserialize_with = "number::unsigned")]
    pub user: u64,
    /// The encoded earlier path of a rename.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relatedpath: Option<String>,
}

/// What the service sends, as the emulator writes it.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum ServerMessage {
    /// The session is open.
    Accepted {
        /// Always `"ok"`.
        res: word::Ok,
        /// The most bytes of one file.
        #[serde(rename = "perFileMax")]
        per_file_max: u64,
        /// The account's number.
        #[serde(rename = "userId")]
        user_id: u64,
    },
    /// The session is refused.
    Refused {
        /// Always `"err"`.
        res: word::Err,
        /// Why, for people.
        msg: String,
    },
    /// A push wants no content, or a piece has arrived.
    Done {
        /// Always `"ok"`.
        res: word::Ok,
    },
    /// A push wants its pieces.
    Next {
        /// Always `"next"`.
        res: word::Next,
    },
    /// A record, in a listing or live.
    Record {
        /// Always `"push"`.
        op: word::Push,
        /// The record.
        #[serde(flatten)]
        record: Record,
    },
    /// The listing is complete.
    Ready {
        /// Always `"ready"`.
        op: word::Ready,
        /// The cursor that it leads to.
        version: Cursor,
    },
    /// A sign of life.
    Pong {
        /// Always `"pong"`.
        op: word::Pong,
    },
    /// The content that follows in binary frames.
    Content {
        /// Bytes of ciphertext.
        size: u64,
        /// Binary frames.
        pieces: u64,
        /// The encoded content hash.
        hash: String,
    },
    /// The record's content is no more.
    Gone {
        /// Always `true`.
        deleted: bool,
    },
    /// The request failed.
    Failed {
        /// Why, for people.
        err: String,
    },
    /// Deleted files, or the earlier records of a path.
    Items {
        /// The records.
        items: Vec<Record>,
        /// There are more behind the last one (`history` only).
        #[serde(skip_serializing_if = "Option::is_none")]
        more: Option<bool>,
    },
    /// How much is stored.
    Size {
        /// Bytes stored.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
}

/// The constant words that tell messages apart.
pub mod word {
    macro_rules! word {
        ($($name:ident = $word:literal),*) => {$(
            #[doc = concat!("The word `", $word, "`.")]
            #[derive(Debug, Clone, Copy, Default)]
            pub struct $name;

            impl serde::Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.serialize_str($word)
                }
            }
        )*};
    }

    word!(Ok = "ok", Err = "err", Next = "next", Push = "push", Ready = "ready", Pong = "pong");
}

/// What the service sends, as a client that only reads understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// The session is open.
    Accepted {
        /// The most bytes of one file, if the service says so.
        per_file_max: Option<u64>,
    },
    /// The session is refused.
    Refused(Cow<'a, str>),
    /// A record.
    Record(Record),
    /// A record that breaks a limit: its number and the limit.
    Oversized(Uid, &'static str),
    /// The listing is complete.
    Ready(Cursor),
    /// A sign of life.
    Pong,
    /// Content follows.
    Content {
        /// Bytes of ciphertext.
        size: u64,
        /// Binary frames.
        pieces: u64,
    },
    /// The record's content is no more.
    Gone,
    /// The request failed.
    Failed(Cow<'a, str>),
    /// A message that a reading client has no use for.
    Other,
}

/// Why a text frame is no message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Longer than [`limits::MAX_TEXT`].
    #[error("a message of {0} bytes is longer than the {max} allowed", max = limits::MAX_TEXT)]
    TooLong(usize),
    /// Not JSON, or not of a known form. The text is not quoted: it can hold names.
    #[error("not a message: malformed JSON at line {line}, column {column}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
}

/// A text in the frame itself, unless it has escapes: inside an `Option`, serde copies a plain `Cow`.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// All fields of all messages side by side, so that a frame is read once.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(default, borrow)]
    op: Option<Text<'a>>,
    #[serde(default, borrow)]
    res: Option<Text<'a>>,
    #[serde(default, borrow)]
    status: Option<Text<'a>>,
    #[serde(default, borrow)]
    msg: Option<Text<'a>>,
    #[serde(default, borrow)]
    err: Option<Text<'a>>,
    #[serde(default, deserialize_with = "number::unsigned")]
    version: u64,
    #[serde(default, rename = "perFileMax", deserialize_with = "some_size")]
    per_file_max: Option<u64>,
    #[serde(default, deserialize_with = "number::unsigned")]
    pieces: u64,
    #[serde(default, deserialize_with = "number::unsigned")]
    uid: u64,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    hash: Option<String>,
    #[serde(default, deserialize_with = "some_size")]
    size: Option<u64>,
    #[serde(default, deserialize_with = "number::signed")]
    ctime: i64,
    #[serde(default, deserialize_with = "number::signed")]
    mtime: i64,
    #[serde(default, deserialize_with = "number::or_default")]
    folder: bool,
    #[serde(default, deserialize_with = "number::or_default")]
    deleted: bool,
    #[serde(default, borrow)]
    device: Option<Text<'a>>,
    #[serde(default, deserialize_with = "number::unsigned")]
    user: u64,
    #[serde(default)]
    relatedpath: Option<String>,
}

fn some_size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    number::size(deserializer).map(Some)
}

impl<'a> Incoming<'a> {
    /// Reads one text frame. Unknown keys and unknown messages are let through as [`Incoming::Other`].
    ///
    /// # Errors
    /// [`MessageError`] for a frame that is too long or no JSON object of a known form.
    pub fn parse(text: &'a str) -> Result<Self, MessageError> {
        if text.len() > limits::MAX_TEXT {
            return Err(MessageError::TooLong(text.len()));
        }
        // serde would read an array as the struct's fields in order.
        if !text.trim_start().starts_with('{') {
            return Err(MessageError::Malformed { line: 1, column: 1 });
        }
        let fields: Fields<'a> =
            serde_json::from_str(text).map_err(|e| MessageError::Malformed { line: e.line(), column: e.column() })?;
        Ok(fields.classify())
    }
}

impl<'a> Fields<'a> {
    fn classify(self) -> Incoming<'a> {
        match (self.op.as_deref(), self.res.as_deref().or(self.status.as_deref())) {
            (Some("push"), _) => self.record(),
            (Some("ready"), _) => Incoming::Ready(Cursor(self.version)),
            (Some("pong"), _) => Incoming::Pong,
            (None, Some("ok")) => Incoming::Accepted { per_file_max: self.per_file_max },
            (None, Some("err")) => {
                Incoming::Refused(self.msg.or(self.err).map_or(Cow::Borrowed("no reason given"), |text| text.0))
            }
            (None, None) if self.err.is_some() => Incoming::Failed(self.err.map(|text| text.0).unwrap_or_default()),
            (None, None) if self.deleted => Incoming::Gone,
            (None, None) => match self.size {
                Some(size) => Incoming::Content { size, pieces: self.pieces },
                None => Incoming::Other,
            },
            _ => Incoming::Other,
        }
    }

    fn record(self) -> Incoming<'a> {
        let uid = Uid(self.uid);
        let (path, hash) = (self.path.unwrap_or_default(), self.hash.unwrap_or_default());
        if path.len() > limits::MAX_ENCODED {
            return Incoming::Oversized(uid, "path");
        }
        if hash.len() > limits::MAX_ENCODED {
            return Incoming::Oversized(uid, "hash");
        }
        Incoming::Record(Record {
            uid,
            path,
            hash,
            size: self.size.unwrap_or(0),
            ctime: self.ctime,
            mtime: self.mtime,
            folder: self.folder,
            deleted: self.deleted,
            device: self.device.map(|d| limits::label(&d).to_owned()).unwrap_or_default(),
            user: self.user,
            relatedpath: self.relatedpath.filter(|p| !p.is_empty() && p.len() <= limits::MAX_ENCODED),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_the_protocol_is_known() {
        let cases = [
            (
                r#"{"res":"ok","perFileMax":208666624,"userId":1}"#,
                Incoming::Accepted { per_file_max: Some(208_666_624) },
            ),
            (r#"{"res":"err","msg":"Vault not found"}"#, Incoming::Refused("Vault not found".into())),
            (r#"{"status":"err","msg":"no"}"#, Incoming::Refused("no".into())),
            (r#"{"op":"ready","version":17}"#, Incoming::Ready(Cursor(17))),
            (r#"{"op":"pong"}"#, Incoming::Pong),
            (r#"{"size":0,"pieces":0,"hash":""}"#, Incoming::Content { size: 0, pieces: 0 }),
            (r#"{"hash":"aa","size":4194305,"pieces":3}"#, Incoming::Content { size: 4_194_305, pieces: 3 }),
            (r#"{"deleted":true}"#, Incoming::Gone),
            (r#"{"err":"Internal error"}"#, Incoming::Failed("Internal error".into())),
            (r#"{"op":"news"}"#, Incoming::Other),
            (r"{}", Incoming::Other),
        ];
        for (text, expected) in cases {
            assert_eq!(Incoming::parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn record_survives_fractions_nulls_and_unknown_keys() {
        let text = r#"{"op":"push","uid":9,"path":"ab","hash":null,"size":30,"ctime":1.6e12,"mtime":1600000000000.75,
            "folder":false,"deleted":false,"device":"phone","user":3,"relatedpath":"","wat":[{}]}"#;
        let Incoming::Record(record) = Incoming::parse(text).unwrap() else { panic!() };
        assert_eq!((record.uid, record.mtime, record.hash.as_str()), (Uid(9), 1_600_000_000_001, ""));
        assert_eq!(record.relatedpath, None);
        let text = r#"{"op":"push","uid":9,"path":"ab","size":-5,"folder":null,"deleted":null}"#;
        let Incoming::Record(record) = Incoming::parse(text).unwrap() else { panic!() };
        assert_eq!(crate::crypto::plaintext_size(record.size), None, "no file has this size");
        let kept = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&kept).unwrap(), record, "a state that holds it is read again");
    }

    #[test]
    fn hostile_numbers_and_frames_are_errors_not_panics() {
        for text in [
            r#"{"op":"push","uid":-1,"path":"a"}"#,
            r#"{"op":"push","uid":1e300,"path":"a"}"#,
            r#"{"size":18446744073709551615}"#,
            "[]",
            "",
            "nonsense",
        ] {
            assert!(matches!(Incoming::parse(text), Err(MessageError::Malformed { .. })), "{text}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Incoming::parse(&deep).unwrap(), Incoming::Other);
        assert!(matches!(Incoming::parse(&" ".repeat(limits::MAX_TEXT + 1)), Err(MessageError::TooLong(_))));
    }

    #[test]
    fn oversized_path_is_refused_by_number() {
        let text = format!(r#"{{"op":"push","uid":5,"path":"{}"}}"#, "a".repeat(limits::MAX_ENCODED + 1));
        assert_eq!(Incoming::parse(&text).unwrap(), Incoming::Oversized(Uid(5), "path"));
    }

    #[test]
    fn what_the_emulator_writes_the_client_reads() {
        let record =
            Record { uid: Uid(3), path: "aa".into(), hash: "bb".into(), size: 40, mtime: 5, ..Record::default() };
        let text = serde_json::to_string(&ServerMessage::Record { op: word::Push, record: record.clone() }).unwrap();
        assert_eq!(Incoming::parse(&text).unwrap(), Incoming::Record(record));
    }

    #[test]
    fn init_is_written_as_the_official_client_writes_it() {
        let init = ClientMessage::Init(Init {
            token: "t".to_owned().into(),
            id: "v1".parse().unwrap(),
            keyhash: "k".to_owned().into(),
            cursor: Cursor(4),
            initial: false,
            device: "obsync".into(),
            encryption_version: 3,
        });
        assert!(!format!("{init:?}").contains("\"k\""));
        assert_eq!(
            serde_json::to_string(&init).unwrap(),
            r#"{"op":"init","token":"t","id":"v1","keyhash":"k","version":4,"initial":false,"device":"obsync","encryption_version":3}"#
        );
    }
}

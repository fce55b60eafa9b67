//! Our cryptography against others': the Fernet specification's vectors, vectors made from the
//! documented layouts by a Python script, and the `openssl` program, both ways.
//!
//! Needs `openssl` (3.0 or later) in the path, and fails when it is missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use fastchat::blob::{Shape, hash_chunk, sealed_bytes};
use fastchat::crypto::blob::BlobKey;
use fastchat::crypto::envelope::{FileBody, MessageRef};
use fastchat::crypto::invite::{InviteClaim, InviteSecret, WrapKey};
use fastchat::crypto::operation::{Change, InvitedKey, verify_operation};
use fastchat::crypto::{self, *};
use fastchat::limits::CHUNK_BYTES_MAX;
use fastchat::roster::Roster;
use fastchat::types::{
    ClusterId, DeviceId, GroupId, KeyEpoch, KeyId, LogId, N, OpHash, ServerId, UserName, hex, unhex,
};
use fastchat::wire::client as wire;
use fernet::Fernet;
use hmac::{Hmac, KeyInit, Mac};
use pkcs8::EncryptedPrivateKeyInfo;
use pkcs8::der::{EncodePem, pem::LineEnding};
use pkcs8::pkcs5::pbes2::{
    EncryptionScheme, Kdf, Parameters, Pbkdf2Params, Pbkdf2Prf, ScryptParams,
};
use prost::Message;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const CLUSTER: ClusterId = ClusterId([7; 32]);
const PASSPHRASE: &str = "a passphrase with ü";

fn user(name: &str) -> UserName {
    UserName::canonical(name).unwrap()
}

/// Runs `openssl` in a folder and says loudly when it is missing.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    match Command::new("openssl").current_dir(folder).args(arguments).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("these tests need the program `openssl` (3.0 or later), see README.md")
        }
        Err(error) => panic!("openssl does not start: {error}"),
    }
}

/// Runs `openssl`, which must succeed, and returns what it printed.
fn openssl(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = run(folder, arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {complaint}");
    output.stdout
}

fn write(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) {
    fs::write(folder.path().join(name), bytes).unwrap();
}

fn read(folder: &TempDir, name: &str) -> Vec<u8> {
    fs::read(folder.path().join(name)).unwrap()
}

// ---------------------------------------------------------------- Fernet

/// The secret of all vectors of the Fernet specification.
const SECRET: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
/// generate.json and verify.json.
const TOKEN: &str = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPg\
                     JobwOz7JcbmrR64jVmpU4IwqDA==";
/// 1985-10-26T01:20:00-07:00.
const NOW: u64 = 499_162_800;
/// invalid.json: what is wrong, the token, seconds after [`NOW`] at which it is read.
const INVALID: [(&str, &str, u64); 8] = [
    (
        "incorrect mac",
        "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykQUFB\
         QUFBQUFBQQ==",
        1,
    ),
    ("too short", "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPA==", 1),
    (
        "invalid base64",
        "%%%%%%%%%%%%%AECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfs\
         H-p1YsUD2Q==",
        1,
    ),
    (
        "payload size not multiple of block size",
        "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPOm73QeoCk9uGib28Xe5vz6oxq5nmxbx_v7m\
         rfyudzUm",
        1,
    ),
    (
        "payload padding error",
        "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0ODz4LEpdELGQAad7aNEHbf-JkLPIpuiYRLQ3RtXatOYREu2FWke6CnJNY\
         IbkuKNqOhw==",
        1,
    ),
    (
        "far-future timestamp",
        "gAAAAAAdwStRAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAnja1xKYyhd-Y6mSkTOyTGJmw2Xc2a6kBd-\
         iX9b_qXQcw==",
        1,
    ),
    (
        "expired",
        "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfs\
         H-p1YsUD2Q==",
        91,
    ),
    (
        "incorrect IV",
        "gAAAAAAdwJ6xBQECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAkLhFLHpGtDBRLRTZeUfWgHSv49TF2AUEZ1\
         TIvcZjK1zQ==",
        1,
    ),
];

#[test]
fn fernet_reads_and_refuses_what_its_specification_says() {
    let fernet = Fernet::new(SECRET).unwrap();
    assert_eq!(fernet.decrypt_at_time(TOKEN, Some(60), NOW + 1).unwrap(), b"hello");
    for (what, token, seconds) in INVALID {
        assert!(fernet.decrypt_at_time(token, Some(60), NOW + seconds).is_err(), "{what}");
    }
}

/// A Fernet token as the specification describes it, with the cipher from `openssl`.
fn token_by_openssl(key: &[u8], time: u64, iv: &[u8; 16], plain: &[u8]) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    write(&folder, "plain", plain);
    let (key_hex, iv_hex) = (hex(&key[16..]), hex(iv));
    let sealed = openssl(
        folder.path(),
        &["enc", "-aes-128-cbc", "-K", &key_hex, "-iv", &iv_hex, "-in", "plain"],
    );
    let mut token = [[0x80].as_slice(), &time.to_be_bytes(), iv, &sealed].concat();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key[..16]).unwrap();
    mac.update(&token);
    token.extend_from_slice(&mac.finalize().into_bytes());
    token
}

#[test]
fn fernet_tokens_of_openssl_and_ours_are_the_same() {
    let iv: [u8; 16] = std::array::from_fn(|index| u8::try_from(index).unwrap());
    let secret = URL_SAFE.decode(SECRET).unwrap();
    let generated = token_by_openssl(&secret, NOW, &iv, b"hello");
    assert_eq!(URL_SAFE.encode(generated), TOKEN, "generate.json");

    let key = DbKey::from_bytes(&secret).unwrap();
    let ours = key.seal(b"what we seal");
    let iv: [u8; 16] = ours[9..25].try_into().unwrap();
    assert_eq!(ours, token_by_openssl(&secret, 0, &iv, b"what we seal"));
    let theirs = token_by_openssl(&secret, 0, &[5; 16], b"what they seal");
    assert_eq!(*key.open(&theirs).unwrap(), b"what they seal");
}

// ---------------------------------------------------------------- a second implementation

/// What `crypto_interop/vectors.py` made without any code of ours.
fn vectors() -> BTreeMap<&'static str, &'static str> {
    let lines = include_str!("crypto_interop/vectors.txt").lines();
    lines.map(|line| line.split_once(' ').unwrap()).collect()
}

fn vector_cluster() -> ClusterId {
    ClusterId(std::array::from_fn(|index| u8::try_from(index).unwrap()))
}

const VECTOR_DEVICE: DeviceId = DeviceId(0x0102_0304_0506_0708);

#[test]
fn signatures_and_ids_are_those_of_the_second_implementation() {
    let (vectors, cluster) = (vectors(), vector_cluster());
    let device_key = DeviceKey::from_seed(&[9; 32]);
    let (alice, bob) = (user("alice"), user("bob"));

    let key = ConversationKey::from_bytes(&[0x42; 32]).unwrap();
    assert_eq!(hex(&key.key_id(&cluster)), vectors["key_id"]);

    let claim = ResumeClaim {
        cluster: &cluster,
        server: &ServerId::numbered(2),
        user: &alice,
        device: VECTOR_DEVICE,
        count: 9,
    };
    assert_eq!(hex(&device_key.sign_resume(&claim)), vectors["resume_signature"]);

    let log = LogId::Inbox(bob.clone());
    let void = seal_void(&cluster, &device_key, &log, &alice, VECTOR_DEVICE, N(300), N(305));
    assert_eq!(hex(&void.unwrap()), vectors["void"]);

    let (a, b) = (testkeys::identity(0), testkeys::identity(1));
    let number = safety_number((&alice, a.spki()), (&bob, b.spki()));
    assert_eq!(number.to_string(), vectors["safety_number"]);
}

#[test]
fn a_password_stretches_to_the_keys_of_the_second_implementation() {
    let vectors = vectors();
    let password = "pa\u{308}ssword of Alice";
    let keys = stretch(password, &vector_cluster(), &user("alice"), StretchCost::Full).unwrap();
    assert_eq!(keys.auth_key.as_str(), vectors["auth_key"]);
    let token = unhex(vectors["vault_token"]).unwrap();
    let opened = DbKey::unwrap(&token, &keys.vault_key).unwrap();
    assert_eq!(*opened.to_bytes(), [0x17; 32]);
}

#[test]
fn a_bundle_and_a_message_of_the_second_implementation_are_read() {
    let (vectors, cluster) = (vectors(), vector_cluster());
    let bundle = unhex(vectors["bundle"]).unwrap();
    let bundle = verify_bundle(&bundle, &cluster, &user("alice")).unwrap();
    assert_eq!((bundle.version, bundle.suites.as_slice()), (3, [SUITE_RF1].as_slice()));
    assert_eq!(bundle.active_device().unwrap().device, VECTOR_DEVICE);

    let envelope = unhex(vectors["message"]).unwrap();
    let verified = verify(&envelope, &cluster, &bundle).unwrap();
    assert_eq!(verified.header().n, N(300));
    let (from, to) = (bundle.identity(), testkeys::identity(1).key_id());
    let wrapped = verified.wrapped().unwrap();
    let key = crypto::unwrap(&testkeys::encryption(1), &cluster, &from, &to, &wrapped).unwrap();
    let message = open(&verified, &key, &from, &to).unwrap();
    assert_eq!(message.body, Body::Text("grüß dich, Bob".to_owned()));
    assert_eq!((message.author_bundle_version, message.recipient_bundle_version), (3, 7));
    assert_eq!(message.sent_at_unix_ms, 1_700_000_000_123);
}

// ---------------------------------------------------------------- files

#[test]
fn a_file_of_the_second_implementation_is_read_chunk_by_chunk() {
    let (vectors, cluster) = (vectors(), vector_cluster());
    let envelope = unhex(vectors["file_message"]).unwrap();
    let bundle = unhex(vectors["bundle"]).unwrap();
    let bundle = verify_bundle(&bundle, &cluster, &user("alice")).unwrap();
    let verified = verify(&envelope, &cluster, &bundle).unwrap();
    let key = ConversationKey::from_bytes(&[0x42; 32]).unwrap();
    let (from, to) = (bundle.identity(), testkeys::identity(1).key_id());
    let Body::File(file) = open(&verified, &key, &from, &to).unwrap().body else {
        panic!("not a file")
    };
    let plain: Vec<u8> = (0..64 * 1024 + 40_u32).map(|i| (i % 251).to_le_bytes()[0]).collect();
    let reply_to = MessageRef { author: user("bob"), device: DeviceId(5), n: N(17) };
    let expected = FileBody {
        blob: file.blob,
        bytes: plain.len() as u64,
        key: BlobKey::from_bytes(&[0x66; 32]).unwrap(),
        name: "grüße.jpg".to_owned(),
        media_type: "image/jpeg".to_owned(),
        dimensions: Some((640, 480)),
        thumbnail: Bytes::from_static(b"\xff\xd8\xff"),
        caption: "für dich".to_owned(),
        reply_to: Some(reply_to),
        expire: Some(Duration::from_secs(60)),
    };
    assert_eq!(*file, expected);

    // The chunk itself, by `openssl`: one token for each 64 KiB.
    let iv: [u8; 16] = std::array::from_fn(|index| u8::try_from(index).unwrap());
    let token = |piece: &[u8]| token_by_openssl(&[0x66; 32], 0, &iv, piece);
    let sealed: Vec<u8> = plain.chunks(64 * 1024).flat_map(token).collect();
    assert_eq!(hex(&hash_chunk(&sealed)), vectors["chunk_hash"]);
    assert_eq!(sealed.len() as u64, sealed_bytes(file.bytes));
    let shape = Shape::of(&file.blob, sealed.len() as u64, &hash_chunk(&sealed)).unwrap();
    assert!(shape.fits(0, &sealed));
    assert_eq!(*file.key.open_chunk(&sealed).unwrap(), plain);
}

#[test]
fn a_blob_has_the_id_of_the_second_implementation() {
    let chunks = [vec![1; CHUNK_BYTES_MAX], vec![2; 73]];
    let hashes = chunks.iter().map(|chunk| hash_chunk(chunk)).collect();
    let shape = Shape::made(CHUNK_BYTES_MAX as u64 + 73, hashes).unwrap();
    assert_eq!(hex(&shape.id().0), vectors()["blob_of_two"]);
}

// ---------------------------------------------------------------- groups

/// The group of the vectors: its id, its key, and Alice's bundle as it came with its CREATE.
fn vector_group() -> (GroupId, GroupKey, VerifiedBundle) {
    let (vectors, cluster) = (vectors(), vector_cluster());
    let create = Bytes::from(unhex(vectors["create"]).unwrap());
    let create = verify_operation(&create, &cluster).unwrap();
    let key = GroupKey::from_bytes(&[0x43; 32]).unwrap();
    (create.group(), key, create.bundle().clone())
}

#[test]
fn a_group_of_the_second_implementation_is_read() {
    let (vectors, cluster) = (vectors(), vector_cluster());
    let create = Bytes::from(unhex(vectors["create"]).unwrap());
    let create = verify_operation(&create, &cluster).unwrap();
    let (group, key, _) = vector_group();
    assert_eq!(group.to_string(), vectors["group_id"]);
    let roster = Roster::create(&create).unwrap();
    assert_eq!((roster.name().as_str(), roster.title()), ("team", "The Team"));
    let members: Vec<_> = roster.members().values().map(|member| member.identity).collect();
    assert_eq!(members, [0, 1].map(|number| testkeys::identity(number).key_id()));
    assert!(roster.is_admin(&user("alice")) && !roster.is_admin(&user("bob")));
    assert_eq!(roster.key_commit(), key.commit(&cluster, &group, KeyEpoch(1)));
    assert_eq!(hex(&key.commit(&cluster, &group, KeyEpoch(2))), vectors["group_commit"]);
}

#[test]
fn a_message_to_a_group_of_the_second_implementation_is_read() {
    let (vectors, cluster) = (vectors(), vector_cluster());
    let (group, key, bundle) = vector_group();
    let envelope = unhex(vectors["group_message"]).unwrap();
    let verified = verify(&envelope, &cluster, &bundle).unwrap();
    let header = verified.header();
    assert_eq!((&header.log, header.n), (&LogId::Group(group), N(301)));
    let message = open_group(&verified, &key, &bundle.identity()).unwrap();
    assert_eq!(message.body, Body::Text("grüß euch alle".to_owned()));
    assert_eq!((message.roster_head, message.author_bundle_version), (OpHash(group.0), 3));

    let ours = testkeys::encryption(1);
    let bytes = unhex(vectors["group_wrapped"]).unwrap();
    let (wrapped, member) =
        (WrappedKey { to: ours.key_id(), bytes }, testkeys::identity(1).key_id());
    let opened = GroupKey::unwrap(&ours, &cluster, &group, KeyEpoch(2), &member, &wrapped);
    assert_eq!(opened, Ok(key));
}

#[test]
fn an_invitation_of_the_second_implementation_is_proved_opened_and_used() {
    let (vectors, cluster) = (vectors(), vector_cluster());
    let (group, key, _) = vector_group();
    let secret = InviteSecret::from_bytes(&[0x33; 16]).unwrap();
    let invite = secret.invite_key(&cluster, &group);
    assert_eq!(hex(&invite.public()), vectors["invite"]);
    let password = "pa\u{308}ssword of the team";
    let secret = InviteSecret::of_password(password, &group, StretchCost::Full).unwrap();
    let of_password = secret.invite_key(&cluster, &group);
    assert_eq!(hex(&of_password.public()), vectors["invite_of_password"]);

    let token = |name: &str| Bytes::from(unhex(vectors[name]).unwrap());
    let in_chain = InvitedKey {
        invite: invite.public(),
        sealed_wrap_key: token("invite_sealed_wrap_key"),
        wrapped_key: token("invite_wrapped_key"),
    };
    assert_eq!(invite.wrap.unwrap(&in_chain).as_ref(), Some(&key));
    let unsealed = WrapKey::unseal(&in_chain, &key).unwrap();
    assert_eq!(unsealed.unwrap(&in_chain).as_ref(), Some(&key));

    let claim = InviteClaim {
        cluster: &cluster,
        group: &group,
        nonce: &[0x55; 32],
        user: &user("alice"),
        device: VECTOR_DEVICE,
    };
    assert_eq!(hex(&invite.prove(&claim)), vectors["invite_proof"]);
    let join = verify_operation(&token("join"), &cluster).unwrap();
    let identity = testkeys::identity(0).key_id();
    let change = Change::Join { identity, invite: invite.public() };
    assert_eq!((&join.operation().change, join.group()), (&change, group));
}

// ---------------------------------------------------------------- keys in PEM

#[test]
fn openssl_opens_the_pem_we_write() {
    let folder = TempDir::new().unwrap();
    let key = testkeys::identity(0);
    let pem = key.to_pem(PASSPHRASE).unwrap();
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    write(&folder, "key.pem", pem.as_bytes());
    write(&folder, "pass", PASSPHRASE);
    let open = ["-in", "key.pem", "-passin", "file:pass", "-outform", "DER"];
    let public = [["pkey", "-pubout"].as_slice(), &open].concat();
    assert_eq!(openssl(folder.path(), &public), key.spki());
    let private = [["pkcs8", "-topk8", "-nocrypt"].as_slice(), &open].concat();
    assert!(openssl(folder.path(), &private) == *key.to_pkcs8(), "not the key we wrote");
    write(&folder, "pass", "another");
    assert!(!run(folder.path(), &private).status.success());

    let again = IdentityKey::from_pem(&pem, PASSPHRASE).unwrap();
    assert_eq!(again.key_id(), key.key_id());
    let refused = IdentityKey::from_pem(&pem, "another").err();
    assert_eq!(refused, Some(KeyError::WrongPassphrase));
}

/// A key in the clear that `openssl` turns into other forms.
fn plain_key(folder: &TempDir, key: &EncryptionKey) {
    write(folder, "plain.der", &*key.to_pkcs8());
    write(folder, "pass", PASSPHRASE);
}

const TOPK8: [&str; 8] =
    ["pkcs8", "-topk8", "-inform", "DER", "-in", "plain.der", "-passout", "file:pass"];

fn pem_by_openssl(folder: &TempDir, arguments: &[&str]) -> String {
    let output = openssl(folder.path(), &[TOPK8.as_slice(), arguments].concat());
    String::from_utf8(output).unwrap()
}

#[test]
fn the_pems_of_openssl_are_read() {
    let folder = TempDir::new().unwrap();
    let key = testkeys::encryption(0);
    plain_key(&folder, &key);
    for form in [
        ["-v2", "aes-256-cbc"].as_slice(),
        &["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA512", "-iter", "100000"],
        &["-scrypt", "-scrypt_N", "16384", "-scrypt_r", "8", "-scrypt_p", "5"],
    ] {
        let pem = pem_by_openssl(&folder, form);
        let read = EncryptionKey::from_pem(&pem, PASSPHRASE);
        assert_eq!(read.unwrap().key_id(), key.key_id(), "{form:?}");
        let windows = pem.replace('\n', "\r\n");
        assert!(EncryptionKey::from_pem(&windows, PASSPHRASE).is_ok(), "{form:?}");
    }
}

#[test]
fn a_2048_bit_key_of_openssl_does_every_job_and_a_1024_bit_one_none() {
    let folder = TempDir::new().unwrap();
    write(&folder, "pass", PASSPHRASE);
    let make = |bits: &str| {
        let bits = format!("rsa_keygen_bits:{bits}");
        let arguments = [
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            &bits,
            "-aes-256-cbc",
            "-pass",
            "file:pass",
        ];
        String::from_utf8(openssl(folder.path(), &arguments)).unwrap()
    };
    let pem = make("2048");
    let identity = IdentityKey::from_pem(&pem, PASSPHRASE).unwrap();
    let encryption = EncryptionKey::from_pem(&pem, PASSPHRASE).unwrap();
    let id = identity.key_id();
    let key = ConversationKey::generate();
    let wrapped = wrap(&key, &CLUSTER, &id, &id, encryption.spki()).unwrap();
    assert_eq!(wrapped.bytes.len(), 256);
    let opened = crypto::unwrap(&encryption, &CLUSTER, &id, &id, &wrapped).unwrap();
    assert_eq!(opened.as_bytes(), key.as_bytes());
    let bundle = bundle_of(&identity).sign(&identity).unwrap();
    assert!(verify_bundle(&bundle, &CLUSTER, &user("alice")).is_ok());

    let refused = IdentityKey::from_pem(&make("1024"), PASSPHRASE).err();
    assert_eq!(refused, Some(KeyError::Size(1024)));
}

#[test]
fn what_is_no_encrypted_rsa_key_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    plain_key(&folder, &testkeys::encryption(0));
    let refused = |pem: &str| EncryptionKey::from_pem(pem, PASSPHRASE).err();

    let clear = openssl(folder.path(), &["pkey", "-inform", "DER", "-in", "plain.der"]);
    assert_eq!(refused(&String::from_utf8(clear).unwrap()), Some(KeyError::NotEncrypted));
    let public = openssl(folder.path(), &["pkey", "-inform", "DER", "-in", "plain.der", "-pubout"]);
    assert_eq!(refused(&String::from_utf8(public).unwrap()), Some(KeyError::NotPem));
    for form in [["-v1", "PBE-SHA1-3DES"], ["-v2", "des3"], ["-v2prf", "hmacWithSHA1"]] {
        let pem = pem_by_openssl(&folder, &form);
        assert_eq!(refused(&pem), Some(KeyError::UnknownScheme), "{form:?}");
    }
    let curve = ["genpkey", "-algorithm", "ED25519", "-aes-256-cbc", "-pass", "file:pass"];
    let pem = String::from_utf8(openssl(folder.path(), &curve)).unwrap();
    assert_eq!(refused(&pem), Some(KeyError::NotAPrivateKey));
    assert_eq!(refused(""), Some(KeyError::NotPem));
    assert_eq!(refused(&"x".repeat(100_000)), Some(KeyError::NotPem));
}

fn hostile_pem(kdf: Kdf<'_>) -> String {
    let encryption = EncryptionScheme::Aes256Cbc { iv: &[0; 16] };
    let parameters = Parameters { kdf, encryption };
    let info = EncryptedPrivateKeyInfo {
        encryption_algorithm: parameters.into(),
        encrypted_data: &[0; 64],
    };
    info.to_pem(LineEnding::LF).unwrap()
}

#[test]
fn a_pem_that_would_take_all_memory_or_hours_is_refused_at_once() {
    let salt = b"saltsalt".as_slice();
    let scrypt = |n: u64, r, p| {
        hostile_pem(Kdf::Scrypt(ScryptParams {
            salt,
            cost_parameter: n,
            block_size: r,
            parallelization: p,
            key_length: None,
        }))
    };
    let pbkdf2 = hostile_pem(Kdf::Pbkdf2(Pbkdf2Params {
        salt,
        iteration_count: 10_000_001,
        key_length: None,
        prf: Pbkdf2Prf::HmacWithSha256,
    }));
    let costly = [
        scrypt(1 << 24, 8, 1),
        scrypt(1 << 40, 8, 1),
        scrypt(1 << 15, u16::MAX, 1),
        scrypt(1 << 14, 8, 17),
        pbkdf2,
    ];
    for pem in costly {
        let refused = IdentityKey::from_pem(&pem, PASSPHRASE).err();
        assert_eq!(refused, Some(KeyError::TooCostly));
    }
    // Affordable, and then simply wrong.
    let refused = IdentityKey::from_pem(&scrypt(1 << 4, 8, 16), PASSPHRASE).err();
    assert_eq!(refused, Some(KeyError::WrongPassphrase));
}

// ---------------------------------------------------------------- OAEP and PSS

#[test]
fn conversation_keys_are_wrapped_and_unwrapped_by_openssl() {
    let folder = TempDir::new().unwrap();
    let (alice, bob) = (KeyId([1; 32]), KeyId([2; 32]));
    let recipient = testkeys::encryption(3);
    plain_key(&folder, &recipient);
    write(&folder, "public.der", recipient.spki());
    let label = [b"fastchat/rf1/wrap/1".as_slice(), &CLUSTER.0, &alice.0, &bob.0].concat();
    let label = format!("rsa_oaep_label:{}", hex(&label));
    let scheme = [
        "-pkeyopt",
        "rsa_padding_mode:oaep",
        "-pkeyopt",
        "rsa_oaep_md:sha256",
        "-pkeyopt",
        "rsa_mgf1_md:sha256",
        "-pkeyopt",
        &label,
    ];

    let key = ConversationKey::generate();
    let ours = wrap(&key, &CLUSTER, &alice, &bob, recipient.spki()).unwrap();
    write(&folder, "wrapped", &ours.bytes);
    let decrypt = ["pkeyutl", "-decrypt", "-keyform", "DER", "-inkey", "plain.der"];
    let decrypt = [decrypt.as_slice(), &["-in", "wrapped"], &scheme].concat();
    assert_eq!(openssl(folder.path(), &decrypt), key.as_bytes());

    write(&folder, "key", key.as_bytes());
    let encrypt = ["pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", "public.der"];
    let encrypt = [encrypt.as_slice(), &["-in", "key"], &scheme].concat();
    let theirs = WrappedKey { to: recipient.key_id(), bytes: openssl(folder.path(), &encrypt) };
    let opened = crypto::unwrap(&recipient, &CLUSTER, &alice, &bob, &theirs).unwrap();
    assert_eq!(opened.as_bytes(), key.as_bytes());
}

fn bundle_of(identity: &IdentityKey) -> Bundle {
    Bundle {
        cluster: CLUSTER,
        user: user("alice"),
        version: 1,
        identity_spki: identity.spki().to_vec().into(),
        enc_spki: testkeys::encryption(0).spki().to_vec().into(),
        devices: vec![],
        suites: vec![SUITE_RF1],
    }
}

#[test]
fn bundles_are_signed_and_verified_by_openssl() {
    let folder = TempDir::new().unwrap();
    let identity = testkeys::identity(2);
    let ours = bundle_of(&identity).sign(&identity).unwrap();
    let ours = wire::SignedBundle::decode(ours).unwrap();
    let hash = Sha256::digest(&ours.bundle);
    let text = [b"fastchat/1/bundle/1".as_slice(), &CLUSTER.0, &hash].concat();
    write(&folder, "text", text);
    write(&folder, "signature", &ours.signature);
    write(&folder, "public.der", identity.spki());
    write(&folder, "plain.der", &*identity.to_pkcs8());
    let scheme =
        ["dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"];

    let verify = ["-keyform", "DER", "-verify", "public.der", "-signature", "signature", "text"];
    openssl(folder.path(), &[scheme.as_slice(), &verify].concat());

    let sign = ["-keyform", "DER", "-sign", "plain.der", "-out", "theirs", "text"];
    openssl(folder.path(), &[scheme.as_slice(), &sign].concat());
    let signed = |signature: Vec<u8>| {
        let bundle =
            wire::SignedBundle { bundle: ours.bundle.clone(), signature: signature.into() };
        verify_bundle(&Bytes::from(bundle.encode_to_vec()), &CLUSTER, &user("alice"))
    };
    assert!(signed(read(&folder, "theirs")).is_ok());

    // Another length of the salt is another scheme, and PKCS#1 v1.5 is none of ours.
    let longer = ["dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt"];
    let longer = [longer.as_slice(), &["rsa_pss_saltlen:64"], &sign].concat();
    openssl(folder.path(), &longer);
    assert_eq!(signed(read(&folder, "theirs")).err(), Some(BundleError::BadSignature));
    openssl(folder.path(), &[["dgst", "-sha256"].as_slice(), &sign].concat());
    assert_eq!(signed(read(&folder, "theirs")).err(), Some(BundleError::BadSignature));
}

"""Makes vectors.txt from the documented layouts alone, without any code of FastChat.

    pip install cryptography argon2-cffi
    python3 tests/crypto_interop/vectors.py > tests/crypto_interop/vectors.txt

The tests read vectors.txt; this script is only needed when a layout changes on purpose. Signatures
of RSA keys and wrapped keys are random, so every run gives other, equally good, vectors.
"""

import base64
import hashlib
import hmac
import pathlib
import struct
import unicodedata

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives import hashes, padding as block_padding, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEYS = pathlib.Path(__file__).resolve().parents[2] / "src/testkit/keys"
CLUSTER = bytes(range(32))
DEVICE = 0x0102030405060708


def sha256(data):
    return hashlib.sha256(data).digest()


# ---- protobuf, by hand


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def uint(field, number):
    return varint(field << 3) + varint(number) if number else b""


def fixed64(field, number):
    return varint(field << 3 | 1) + struct.pack("<Q", number)


def data(field, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content if content else b""


# ---- keys


def test_key(kind, number):
    blocks = (KEYS / f"{kind}.pem").read_text().split("-----END PRIVATE KEY-----\n")
    pem = blocks[number] + "-----END PRIVATE KEY-----\n"
    return serialization.load_pem_private_key(pem.encode(), None)


def spki(key):
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.DER, public)


def context(scope, use):
    return f"fastchat/{scope}/{use}/1".encode() + CLUSTER


def name(text):
    return bytes([len(text)]) + text.encode()


# ---- what is tested

device_key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes([9] * 32))
raw = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
device_public = device_key.public_key().public_bytes(*raw)
alice, bob = test_key("identity", 0), test_key("identity", 1)
alice_print, bob_print = sha256(spki(alice)), sha256(spki(bob))
conversation_key = bytes([0x42] * 32)
key_id = sha256(context("rf1", "key-id") + conversation_key)[:16]


def signed_bundle():
    device = fixed64(1, DEVICE) + data(2, device_public) + uint(3, 1)
    bundle = data(1, CLUSTER) + data(2, "alice") + uint(3, 3) + data(4, spki(alice))
    bundle += data(5, spki(test_key("encryption", 0))) + data(6, device) + data(7, b"\x01")
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    signature = alice.sign(context("1", "bundle") + sha256(bundle), pss, hashes.SHA256())
    return data(1, bundle) + data(2, signature)


def envelope(header, payload):
    signed = context("rf1", "envelope") + sha256(header) + sha256(payload)
    return data(1, header) + data(2, payload) + data(3, device_key.sign(signed))


def header(kind, n, upto, key):
    out = uint(1, 1) + uint(2, kind) + data(3, "@bob") + data(4, "alice") + fixed64(5, DEVICE)
    return out + uint(6, n) + uint(7, upto) + data(8, key)


def fernet(key, plain):
    padder = block_padding.PKCS7(128).padder()
    iv = bytes(range(16))
    cipher = Cipher(algorithms.AES(key[16:]), modes.CBC(iv)).encryptor()
    sealed = cipher.update(padder.update(plain) + padder.finalize()) + cipher.finalize()
    token = b"\x80" + bytes(8) + iv + sealed
    return token + hmac.new(key[:16], token, "sha256").digest()


def message(n, kind, body):
    head = header(1, n, 0, key_id)
    inner = data(1, sha256(head)) + data(2, alice_print) + data(3, bob_print) + uint(4, 3)
    inner += uint(5, 7) + uint(6, 1_700_000_000_123) + uint(7, kind) + data(8, body)
    inner += data(9, bytes(-(len(inner) + 2) % 64))
    assert len(inner) % 64 == 0
    label = context("rf1", "wrap") + alice_print + bob_print
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label)
    recipient = test_key("encryption", 1)
    wrapped = recipient.public_key().encrypt(conversation_key, oaep)
    payload = data(1, wrapped) + data(2, sha256(spki(recipient)))
    return envelope(head, payload + data(3, fernet(conversation_key, inner)))


def stretched(password, user):
    salt = sha256(b"fastchat/auth/1" + CLUSTER + user.encode())
    password = unicodedata.normalize("NFC", password).encode()
    key = hash_secret_raw(password, salt, 3, 64 * 1024, 1, 32, Type.ID)
    return [
        HKDF(hashes.SHA256(), 32, None, context("1", use)).derive(key)
        for use in ("auth-key", "vault-key")
    ]


def safety_number(*people):
    halves = []
    for key, user in people:
        h = hashlib.sha512(b"\x00\x01" + key + user.encode()).digest()
        for _ in range(5199):
            h = hashlib.sha512(h + key).digest()
        numbers = (int.from_bytes(h[i : i + 5], "big") % 100_000 for i in range(0, 30, 5))
        halves.append(" ".join(f"{number:05}" for number in numbers))
    return " ".join(sorted(halves))


# ---- files

# A chunk of 256 KiB is four tokens of 64 KiB; the last chunk, and its last token, have what is left.
TOKEN, SEALED_TOKEN = 64 * 1024, 64 * 1024 + 73
CHUNK, SEALED_CHUNK = 4 * TOKEN, 4 * SEALED_TOKEN
blob_key = bytes([0x66] * 32)
plain_file = bytes(i % 251 for i in range(TOKEN + 40))


def sealed_chunk(plain):
    assert len(plain) <= CHUNK
    pieces = (plain[at : at + TOKEN] for at in range(0, len(plain), TOKEN))
    return b"".join(fernet(blob_key, piece) for piece in pieces)


def blob_id(*chunks):
    assert all(len(chunk) == SEALED_CHUNK for chunk in chunks[:-1])
    return sha256(b"".join(sha256(chunk) for chunk in chunks))


def file():
    answers = data(1, "bob") + fixed64(2, 5) + uint(3, 17)
    body = data(1, blob_id(sealed_chunk(plain_file))) + uint(2, len(plain_file))
    body += data(3, blob_key) + data(4, "grüße.jpg") + data(5, "image/jpeg")
    body += uint(6, 640) + uint(7, 480) + data(8, b"\xff\xd8\xff") + data(9, "für dich")
    return body + data(10, answers) + uint(11, 60_000)


# ---- groups

group_key, invite_secret = bytes([0x43] * 32), bytes([0x33] * 16)
TIME = 1_700_000_000_123


def operation(group, prev, field, change):
    out = data(1, group) + data(2, prev) + data(3, "alice") + fixed64(4, DEVICE) + uint(5, TIME)
    return out + varint(field << 3 | 2) + varint(len(change)) + change


def signed_operation(operation, invite=None):
    bundle = signed_bundle()
    signed = context("rf1", "operation") + sha256(operation) + sha256(bundle)
    out = data(1, operation) + data(2, bundle) + data(3, device_key.sign(signed))
    return out + (data(4, invite.sign(signed)) if invite else b"")


def commit(group, epoch, key):
    return sha256(context("rf1", "group-key") + group + struct.pack(">Q", epoch) + key)


def create():
    members = data(3, data(1, "alice") + data(2, alice_print))
    members += data(3, data(1, "bob") + data(2, bob_print))
    change = data(1, "team") + data(2, bytes([7] * 16)) + members
    change += data(4, commit(bytes(32), 1, group_key)) + data(5, "The Team")
    return operation(b"", b"", 6, change)


group = sha256(create())


def group_message():
    head = uint(1, 1) + uint(2, 1) + data(3, "#" + group.hex()) + data(4, "alice")
    head += fixed64(5, DEVICE) + uint(6, 301)
    group_key_id = sha256(context("rf1", "key-id") + group_key)[:16]
    head += data(8, group_key_id) + uint(9, 1)
    inner = data(1, sha256(head)) + data(2, alice_print) + uint(4, 3) + uint(6, TIME)
    inner += uint(7, 1) + data(8, "grüß euch alle") + data(10, group)
    inner += data(9, bytes(-(len(inner) + 2) % 64))
    assert len(inner) % 64 == 0
    return envelope(head, data(3, fernet(group_key, inner)))


def wrapped_for_bob():
    label = context("rf1", "group-wrap") + group + struct.pack(">Q", 2) + bob_print
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label)
    return test_key("encryption", 1).public_key().encrypt(group_key, oaep)


def invite_keys(secret):
    seed, wrap = (
        HKDF(hashes.SHA256(), 32, None, context("1", use) + group).derive(secret)
        for use in ("invite-key", "invite-wrap")
    )
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed), wrap


def of_password(password):
    password = unicodedata.normalize("NFC", password).encode()
    return invite_keys(hash_secret_raw(password, group, 3, 64 * 1024, 1, 32, Type.ID))


def public(key):
    return key.public_key().public_bytes(*raw)


resume = context("1", "resume") + name("s2") + name("alice") + struct.pack(">QQ", DEVICE, 9)
auth_key, vault_key = stretched("pa\u0308ssword of Alice", "alice")
print("key_id", key_id.hex())
print("resume_signature", device_key.sign(resume).hex())
print("void", envelope(header(2, 300, 305, b""), b"").hex())
print("auth_key", base64.b64encode(auth_key).decode())
print("vault_token", fernet(vault_key, bytes([0x17] * 32)).hex())
print("safety_number", safety_number((spki(alice), "alice"), (spki(bob), "bob")))
print("bundle", signed_bundle().hex())
print("message", message(300, 1, "grüß dich, Bob").hex())

invite, wrap = invite_keys(invite_secret)
join = data(1, alice_print) + data(2, public(invite))
proof = context("1", "invite-proof") + group + bytes([0x55] * 32) + name("alice")
print("create", signed_operation(create()).hex())
print("group_id", group.hex())
print("group_commit", commit(group, 2, group_key).hex())
print("group_message", group_message().hex())
print("group_wrapped", wrapped_for_bob().hex())
print("invite", public(invite).hex())
print("invite_of_password", public(of_password("pa\u0308ssword of the team")[0]).hex())
print("invite_sealed_wrap_key", fernet(group_key, wrap).hex())
print("invite_wrapped_key", fernet(wrap, group_key).hex())
print("invite_proof", invite.sign(proof + struct.pack(">Q", DEVICE)).hex())
print("join", signed_operation(operation(group, group, 9, join), invite).hex())

print("chunk_hash", sha256(sealed_chunk(plain_file)).hex())
print("blob_of_two", blob_id(b"\x01" * SEALED_CHUNK, b"\x02" * 73).hex())
print("file_message", message(302, 10, file()).hex())

// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "push/seal.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <span>
#include <utility>

#include "coi-push.h"
#include "push/libcrypto.h"

// docs/queue.md describes the formats.
namespace coi::push {
namespace {

using std::nullopt;
using std::optional;
using std::string;
using std::string_view;
using namespace std::string_view_literals;

constexpr char kVersion = 1;
constexpr size_t kKeySize = 32;
constexpr size_t kBlockSize = 16;

// version, ephemeral public key
constexpr size_t kSealHeadSize = 1 + kKeySize;
constexpr size_t kSealOverhead = kSealHeadSize + kGcmTagSize;
static_assert(kSealOverhead <= COI_SEAL_OVERHEAD);

// XAES-256-GCM: half of the nonce makes the key.
constexpr size_t kXaesNonceSize = 2 * kGcmNonceSize;
constexpr size_t kQueueHeadSize = 1 + kXaesNonceSize;
constexpr size_t kQueueOverhead = kQueueHeadSize + kGcmTagSize;

constexpr size_t kMaxSealed = kMaxCryptText + COI_SEAL_OVERHEAD;
static_assert(kQueueOverhead <= COI_SEAL_OVERHEAD);

constexpr string_view kSealInfo = "coi seal";
constexpr string_view kQueueInfo = "coi queue";
constexpr string_view kMacInfo = "coi names";

using RawKey = std::array<unsigned char, kKeySize>;
using KdfPtr = std::unique_ptr<EVP_KDF, FreeWith<EVP_KDF_free>>;
using KdfCtxPtr = std::unique_ptr<EVP_KDF_CTX, FreeWith<EVP_KDF_CTX_free>>;

OSSL_PARAM OctetsParam(const char* name, string_view value) {
  // libcrypto only reads it, but its type doesn't say so.
  return OSSL_PARAM_construct_octet_string(name, const_cast<char*>(value.data()), value.size());
}

// What stands for no salt (RFC 5869, 2.2). Not every libcrypto takes an empty one.
constexpr std::array<unsigned char, 32> kNoSalt = {};

// HKDF with SHA-256 (RFC 5869).
bool Hkdf(string_view key, string_view salt, string_view info, std::span<unsigned char> out) {
  const KdfPtr hkdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  const KdfCtxPtr ctx(hkdf ? EVP_KDF_CTX_new(hkdf.get()) : nullptr);
  std::array<char, sizeof("SHA256")> digest = {"SHA256"};
  const std::array params = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), 0),
      OctetsParam(OSSL_KDF_PARAM_KEY, key), OctetsParam(OSSL_KDF_PARAM_SALT, salt),
      OctetsParam(OSSL_KDF_PARAM_INFO, info), OSSL_PARAM_construct_end()};
  return ctx && EVP_KDF_derive(ctx.get(), out.data(), out.size(), params.data()) == 1;
}

CipherCtxPtr MakeCipher(const char* name, bool encrypts) {
  const CipherPtr cipher(EVP_CIPHER_fetch(nullptr, name, nullptr));
  CipherCtxPtr ctx(cipher ? EVP_CIPHER_CTX_new() : nullptr);
  if (ctx && EVP_CipherInit_ex2(ctx.get(), cipher.get(), nullptr, nullptr, encrypts ? 1 : 0,
                                nullptr) != 1) {
    ctx.reset();
  }
  return ctx;
}

// AES-256-GCM with a key and a nonce of their own for each text.
struct GcmKey : Secret<kKeySize + kGcmNonceSize> {
  unsigned char* nonce() {
    return data() + kKeySize;
  }
};

bool AddAad(EVP_CIPHER_CTX* ctx, std::initializer_list<string_view> aad) {
  int size = 0;
  return std::ranges::all_of(aad, [&](string_view part) {
    return part.empty() ||
           EVP_CipherUpdate(ctx, nullptr, &size, Octets(part), static_cast<int>(part.size())) == 1;
  });
}

// Appends ciphertext and tag.
bool GcmEncrypt(EVP_CIPHER_CTX* ctx, GcmKey* key, std::initializer_list<string_view> aad,
                string_view text, string* sealed) {
  const size_t head_size = sealed->size();
  sealed->resize(head_size + text.size() + kGcmTagSize);
  unsigned char* out = Octets(sealed) + head_size;
  int size = 0;
  return EVP_EncryptInit_ex2(ctx, nullptr, key->data(), key->nonce(), nullptr) == 1 &&
         AddAad(ctx, aad) &&
         (text.empty() ||
          EVP_EncryptUpdate(ctx, out, &size, Octets(text), static_cast<int>(text.size())) == 1) &&
         EVP_EncryptFinal_ex(ctx, out + text.size(), &size) == 1 &&
         EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, kGcmTagSize, out + text.size()) == 1;
}

// `sealed` is ciphertext and tag.
optional<string> GcmDecrypt(EVP_CIPHER_CTX* ctx, GcmKey* key,
                            std::initializer_list<string_view> aad, string_view sealed) {
  string text(sealed.size() - kGcmTagSize, '\0');
  std::array<unsigned char, kGcmTagSize> tag = {};
  std::ranges::copy(sealed.substr(text.size()), tag.begin());
  // Where there is no text: never a null pointer for the last block.
  std::array<unsigned char, kBlockSize> rest = {};
  int size = 0;
  if (EVP_DecryptInit_ex2(ctx, nullptr, key->data(), key->nonce(), nullptr) == 1 &&
      AddAad(ctx, aad) &&
      (text.empty() || EVP_DecryptUpdate(ctx, Octets(&text), &size, Octets(sealed),
                                         static_cast<int>(text.size())) == 1) &&
      EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, kGcmTagSize, tag.data()) == 1 &&
      EVP_DecryptFinal_ex(ctx, rest.data(), &size) == 1) {
    return text;
  }
  OPENSSL_cleanse(text.data(), text.size());
  return nullopt;
}

bool PublicOctets(EVP_PKEY* key, RawKey* octets) {
  size_t size = octets->size();
  return EVP_PKEY_get_raw_public_key(key, octets->data(), &size) == 1 && size == octets->size();
}

// The key of one sealed text. X25519 takes any public key; it fails where the
// secret would be 0 (RFC 7748, 6.1).
bool SealKey(EVP_PKEY* own, EVP_PKEY* peer, string_view ephemeral, string_view receiver,
             GcmKey* key) {
  Secret<kKeySize> shared;
  return Derive(own, peer, shared) &&
         Hkdf(AsText(shared), string(ephemeral) + string(receiver), kSealInfo, *key);
}

}  // namespace

optional<string> SealFor(string_view public_pem, string_view text) {
  const ErrorScope errors;
  const PkeyPtr receiver = ReadPublicPem(public_pem);
  if (!receiver || EVP_PKEY_is_a(receiver.get(), "X25519") != 1 || text.size() > kMaxCryptText) {
    return nullopt;
  }
  const PkeyPtr own(EVP_PKEY_Q_keygen(nullptr, nullptr, "X25519"));
  const CipherCtxPtr cipher = MakeCipher("AES-256-GCM", true);
  RawKey ephemeral_octets = {};
  RawKey receiver_octets = {};
  GcmKey key;
  if (!own || !cipher || !PublicOctets(own.get(), &ephemeral_octets) ||
      !PublicOctets(receiver.get(), &receiver_octets) ||
      !SealKey(own.get(), receiver.get(), AsText(ephemeral_octets), AsText(receiver_octets),
               &key)) {
    return nullopt;
  }
  string sealed;
  sealed.reserve(text.size() + kSealOverhead);
  sealed += kVersion;
  sealed += AsText(ephemeral_octets);
  const string head = sealed;
  if (!GcmEncrypt(cipher.get(), &key, {head}, text, &sealed)) {
    return nullopt;
  }
  return sealed;
}

struct StorageKey::Impl {
  PkeyPtr key;
  RawKey public_octets = {};
  // Of XAES-256-GCM, with the queue's key set; and what it makes of a block of
  // zeros, doubled.
  CipherCtxPtr block;
  Secret<kBlockSize> k1;
  CipherCtxPtr encrypter;
  CipherCtxPtr decrypter;
  MacCtxPtr mac;

  static std::unique_ptr<Impl> Make(PkeyPtr key);
  bool SetUp();
  bool EncryptBlock(const Secret<kBlockSize>& in, unsigned char* out) const;
  bool QueueKey(string_view nonce, GcmKey* key) const;
};

std::unique_ptr<StorageKey::Impl> StorageKey::Impl::Make(PkeyPtr key) {
  if (!key || EVP_PKEY_is_a(key.get(), "X25519") != 1) {
    return nullptr;
  }
  auto impl = std::make_unique<Impl>();
  impl->key = std::move(key);
  return impl->SetUp() ? std::move(impl) : nullptr;
}

bool StorageKey::Impl::SetUp() {
  Secret<kKeySize> secret;
  Secret<kKeySize> queue_key;
  Secret<kKeySize> mac_key;
  size_t size = secret.size();
  if (EVP_PKEY_get_raw_private_key(key.get(), secret.data(), &size) != 1 || size != secret.size() ||
      !PublicOctets(key.get(), &public_octets) ||
      !Hkdf(AsText(secret), AsText(kNoSalt), kQueueInfo, queue_key) ||
      !Hkdf(AsText(secret), AsText(kNoSalt), kMacInfo, mac_key)) {
    return false;
  }

  block = MakeCipher("AES-256-ECB", true);
  encrypter = MakeCipher("AES-256-GCM", true);
  decrypter = MakeCipher("AES-256-GCM", false);
  if (!block || !encrypter || !decrypter ||
      EVP_EncryptInit_ex2(block.get(), nullptr, queue_key.data(), nullptr, nullptr) != 1 ||
      EVP_CIPHER_CTX_set_padding(block.get(), 0) != 1 || !EncryptBlock({}, k1.data())) {
    return false;
  }
  // Doubled in GF(2^128), without a branch on the secret.
  const auto carry = static_cast<unsigned char>(k1[0] >> 7U);
  for (size_t i = 0; i + 1 < k1.size(); ++i) {
    k1[i] = static_cast<unsigned char>(k1[i] << 1U | k1[i + 1] >> 7U);
  }
  k1.back() = static_cast<unsigned char>(k1.back() << 1U ^ carry * 0x87U);

  mac = MakeHmac();
  return mac && EVP_MAC_init(mac.get(), mac_key.data(), mac_key.size(), nullptr) == 1;
}

bool StorageKey::Impl::EncryptBlock(const Secret<kBlockSize>& in, unsigned char* out) const {
  int size = 0;
  return EVP_EncryptUpdate(block.get(), out, &size, in.data(), static_cast<int>(in.size())) == 1 &&
         size == static_cast<int>(in.size());
}

bool StorageKey::Impl::QueueKey(string_view nonce, GcmKey* key) const {
  for (const unsigned char half : {0, 1}) {
    Secret<kBlockSize> in;
    in[1] = half + 1;
    in[2] = 'X';
    std::ranges::copy(nonce.substr(0, kGcmNonceSize), in.begin() + 4);
    for (size_t i = 0; i < in.size(); ++i) {
      in[i] ^= k1[i];
    }
    if (!EncryptBlock(in, key->data() + half * kBlockSize)) {
      return false;
    }
  }
  std::ranges::copy(nonce.substr(kGcmNonceSize), key->nonce());
  return true;
}

StorageKey::StorageKey(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
StorageKey::StorageKey(StorageKey&&) noexcept = default;
StorageKey& StorageKey::operator=(StorageKey&&) noexcept = default;
StorageKey::~StorageKey() = default;

optional<StorageKey> StorageKey::Generate() {
  const ErrorScope errors;
  auto impl = Impl::Make(PkeyPtr(EVP_PKEY_Q_keygen(nullptr, nullptr, "X25519")));
  return impl ? optional(StorageKey(std::move(impl))) : nullopt;
}

optional<StorageKey> StorageKey::FromPem(string_view pem) {
  const ErrorScope errors;
  auto impl = Impl::Make(ReadPrivatePem(pem));
  return impl ? optional(StorageKey(std::move(impl))) : nullopt;
}

string StorageKey::PrivatePem() const {
  return WritePrivatePem(impl_->key.get());
}

string StorageKey::PublicPem() const {
  return WritePublicPem(impl_->key.get());
}

optional<string> StorageKey::Open(string_view sealed) const {
  const ErrorScope errors;
  if (sealed.size() < kSealOverhead || sealed.size() > kMaxSealed || sealed[0] != kVersion) {
    return nullopt;
  }
  const string_view head = sealed.substr(0, kSealHeadSize);
  const string_view ephemeral = head.substr(1);
  const PkeyPtr peer(EVP_PKEY_new_raw_public_key_ex(nullptr, "X25519", nullptr, Octets(ephemeral),
                                                    ephemeral.size()));
  GcmKey key;
  if (!peer ||
      !SealKey(impl_->key.get(), peer.get(), ephemeral, AsText(impl_->public_octets), &key)) {
    return nullopt;
  }
  return GcmDecrypt(impl_->decrypter.get(), &key, {head}, sealed.substr(kSealHeadSize));
}

string StorageKey::Encrypt(string_view text, string_view context) const {
  const ErrorScope errors;
  std::array<unsigned char, kXaesNonceSize> nonce = {};
  GcmKey key;
  if (text.size() > kMaxCryptText || context.size() > kMaxCryptText ||
      RAND_bytes(nonce.data(), nonce.size()) != 1 || !impl_->QueueKey(AsText(nonce), &key)) {
    return {};
  }
  string sealed;
  sealed.reserve(text.size() + kQueueOverhead);
  sealed += kVersion;
  sealed += AsText(nonce);
  if (!GcmEncrypt(impl_->encrypter.get(), &key, {string_view(&kVersion, 1), context}, text,
                  &sealed)) {
    return {};
  }
  return sealed;
}

optional<string> StorageKey::Decrypt(string_view sealed, string_view context) const {
  const ErrorScope errors;
  GcmKey key;
  if (sealed.size() < kQueueOverhead || sealed.size() > kMaxSealed ||
      context.size() > kMaxCryptText || sealed[0] != kVersion ||
      !impl_->QueueKey(sealed.substr(1, kXaesNonceSize), &key)) {
    return nullopt;
  }
  return GcmDecrypt(impl_->decrypter.get(), &key, {sealed.substr(0, 1), context},
                    sealed.substr(kQueueHeadSize));
}

string StorageKey::Mac(string_view text) const {
  const ErrorScope errors;
  string mac(kHashSize, '\0');
  size_t size = 0;
  // With the key that it has: setting it costs half of all.
  if (EVP_MAC_init(impl_->mac.get(), nullptr, 0, nullptr) != 1 ||
      EVP_MAC_update(impl_->mac.get(), Octets(text), text.size()) != 1 ||
      EVP_MAC_final(impl_->mac.get(), Octets(&mac), &size, mac.size()) != 1) {
    return {};
  }
  return mac;
}

}  // namespace coi::push

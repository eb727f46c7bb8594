// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "push/seal.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "coi-push.h"

namespace coi::push {
namespace {

using std::optional;
using std::string;
using std::string_view;
using namespace std::string_literals;

constexpr size_t kSealOverhead = 1 + 32 + 16;
constexpr size_t kQueueOverhead = 1 + 24 + 16;

// The private key is the octets 0 to 31.
constexpr string_view kPrivatePem =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VuBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n"
    "-----END PRIVATE KEY-----\n";
constexpr string_view kPublicPem =
    "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VuAyEAj0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8=\n"
    "-----END PUBLIC KEY-----\n";

constexpr string_view kX448Private =
    "-----BEGIN PRIVATE KEY-----\n"
    "MEYCAQAwBQYDK2VvBDoEODgzBkbWaBbZkQ2aZqu7HgL9fu7BRAERtgwGvbm+7X6t\n"
    "7PhpfLhVIZqx19W25DBRpF8QFYhYYqmP\n"
    "-----END PRIVATE KEY-----\n";
constexpr string_view kX448Public =
    "-----BEGIN PUBLIC KEY-----\n"
    "MEIwBQYDK2VvAzkA6zWpbUCI+EX/M8S4BRXKiglkpajyyJwPq+ptFWoMvHPyBuBc\n"
    "kWho/AF9YjZlKfck4HjND2jha9A=\n"
    "-----END PUBLIC KEY-----\n";
constexpr string_view kP256Public =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEXG4iufkak2O6vM+kiYCfUK5O0riE\n"
    "iRys4XYUxl+lGdjr+8tzByaVAWOUQkX4TemI5z0Nfn9FRWrezb9H9oz0lg==\n"
    "-----END PUBLIC KEY-----\n";
constexpr string_view kPassPhrase =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
    "MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAiPuekBiPCnuAICCAAw\n"
    "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEAQIEEM01Ik8Xe8KNN5UwB8cEbuUEQMGD\n"
    "BccYx8tU6fhctV1wB39/ubIbGMv7nRKRX91ynjoGZdmOImS5sNAcG2sF2i9HL6+P\n"
    "7DS/RglLG2xRTNauBNc=\n"
    "-----END ENCRYPTED PRIVATE KEY-----\n";

string FromHex(string_view hex) {
  string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(string(hex.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

string ToHex(string_view bytes) {
  string hex;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    hex += "0123456789abcdef"[byte >> 4U];
    hex += "0123456789abcdef"[byte & 0xfU];
  }
  return hex;
}

StorageKey FixedKey() {
  auto key = StorageKey::FromPem(kPrivatePem);
  EXPECT_TRUE(key);
  return std::move(*key);
}

StorageKey NewKey() {
  auto key = StorageKey::Generate();
  EXPECT_TRUE(key);
  return std::move(*key);
}

string AllOctets() {
  string octets;
  for (int i = 0; i < 256; ++i) {
    octets += static_cast<char>(i);
  }
  return octets;
}

std::vector<string> Texts() {
  return {""s, "x"s, "\0"s, "1\tvapid\n"s, AllOctets(), string(262144, 'x'), string(3000000, '\0')};
}

// -- XAES-256-GCM as its specification tells it, to compare with --

unsigned char* Octets(string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

string AesBlock(string key, string in) {
  const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> ctx(EVP_CIPHER_CTX_new(),
                                                                            EVP_CIPHER_CTX_free);
  string out(32, '\0');
  int size = 0;
  EXPECT_EQ(EVP_EncryptInit(ctx.get(), EVP_aes_256_ecb(), Octets(key), nullptr), 1);
  EXPECT_EQ(EVP_EncryptUpdate(ctx.get(), Octets(out), &size, Octets(in), 16), 1);
  return out.substr(0, 16);
}

string Xor(string a, string_view b) {
  for (size_t i = 0; i < a.size(); ++i) {
    a[i] = static_cast<char>(a[i] ^ b[i]);
  }
  return a;
}

string XaesEncrypt(const string& key, const string& nonce, string text, string aad) {
  const string zero = AesBlock(key, string(16, '\0'));
  string k1;
  for (size_t i = 0; i < 16; ++i) {
    const unsigned int next = i < 15 ? static_cast<unsigned char>(zero[i + 1]) >> 7U : 0;
    k1 += static_cast<char>(static_cast<unsigned char>(zero[i]) << 1U | next);
  }
  if ((static_cast<unsigned char>(zero[0]) & 0x80U) != 0) {
    k1[15] = static_cast<char>(k1[15] ^ '\x87');
  }
  string derived = AesBlock(key, Xor("\0\1X\0"s + nonce.substr(0, 12), k1)) +
                   AesBlock(key, Xor("\0\2X\0"s + nonce.substr(0, 12), k1));
  string gcm_nonce = nonce.substr(12);

  const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> ctx(EVP_CIPHER_CTX_new(),
                                                                            EVP_CIPHER_CTX_free);
  string out(text.size() + 16, '\0');
  int size = 0;
  EXPECT_EQ(EVP_EncryptInit(ctx.get(), EVP_aes_256_gcm(), Octets(derived), Octets(gcm_nonce)), 1);
  if (!aad.empty()) {
    EXPECT_EQ(
        EVP_EncryptUpdate(ctx.get(), nullptr, &size, Octets(aad), static_cast<int>(aad.size())), 1);
  }
  EXPECT_EQ(
      EVP_EncryptUpdate(ctx.get(), Octets(out), &size, Octets(text), static_cast<int>(text.size())),
      1);
  EXPECT_EQ(EVP_EncryptFinal(ctx.get(), Octets(out) + size, &size), 1);
  EXPECT_EQ(EVP_CIPHER_CTX_ctrl(ctx.get(), EVP_CTRL_AEAD_GET_TAG, 16, out.data() + text.size()), 1);
  return out;
}

// The vectors of its specification: C2SP, XAES-256-GCM.
TEST(Seal, Comparison_gives_the_values_of_the_specification) {
  const string nonce = "ABCDEFGHIJKLMNOPQRSTUVWX";
  EXPECT_EQ(ToHex(XaesEncrypt(string(32, '\1'), nonce, "XAES-256-GCM", "")),
            "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
  EXPECT_EQ(ToHex(XaesEncrypt(string(32, '\3'), nonce, "XAES-256-GCM", "c2sp.org/XAES-256-GCM")),
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d");
}

// -- The formats of docs/queue.md: what older versions have written --

TEST(Seal, MSG_12_opens_what_older_versions_have_sealed) {
  const StorageKey key = FixedKey();
  EXPECT_EQ(key.Open(FromHex("01358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254"
                             "24e5d2c0cbe0aaa7059549de1a641bd02452da0adbfc8ace")),
            "1\tvapid\n");
}

TEST(Seal, MSG_12_decrypts_what_older_versions_have_queued) {
  const StorageKey key = FixedKey();
  EXPECT_EQ(key.Decrypt(FromHex("01404142434445464748494a4b4c4d4e4f5051525354555657099d36c4905736f"
                                "bd372db485edf7fa9dce05a5040686b80251c20725f0e"),
                        "subscription"),
            "a subscription");
}

TEST(Seal, MSG_12_names_stay_the_same) {
  const StorageKey key = FixedKey();
  EXPECT_EQ(ToHex(key.Mac("chatid")),
            "452d02fe2c9ebc1cb8133d0aad464141ec984e2956c9aa349a7ccdedef10090f");
}

TEST(Seal, MSG_12_encrypts_for_the_queue_with_xaes_256_gcm) {
  const StorageKey key = FixedKey();
  const string queue_key =
      FromHex("068b742fa0e89642a12736b7bf0696ac557b1d8bfeb048bae447e0729854966b");
  for (int i = 0; i < 20; ++i) {
    const string sealed = key.Encrypt("text", "context");
    ASSERT_EQ(sealed.size(), 4 + kQueueOverhead);
    EXPECT_EQ(ToHex(sealed.substr(25)),
              ToHex(XaesEncrypt(queue_key, sealed.substr(1, 24), "text", "\1context")));
  }
}

// -- Sealed texts --

TEST(Seal, MSG_12_only_the_key_opens_what_is_sealed_for_it) {
  const StorageKey key = NewKey();
  const StorageKey other = NewKey();
  for (const string& text : Texts()) {
    const auto sealed = SealFor(key.PublicPem(), text);
    ASSERT_TRUE(sealed);
    EXPECT_EQ(sealed->size(), text.size() + kSealOverhead);
    EXPECT_LE(sealed->size(), text.size() + COI_SEAL_OVERHEAD);
    EXPECT_TRUE(key.Open(*sealed) == text) << text.size();
    EXPECT_FALSE(other.Open(*sealed));
    if (text.size() > 8) {
      EXPECT_EQ(sealed->find(text.substr(0, 8)), string::npos);
    }
  }
}

TEST(Seal, MSG_12_sealed_texts_differ) {
  const StorageKey key = NewKey();
  std::set<string> keys;
  std::set<string> ciphertexts;
  for (int i = 0; i < 100; ++i) {
    const string sealed = SealFor(key.PublicPem(), "same text").value_or(""s);
    ASSERT_EQ(sealed.size(), 9 + kSealOverhead);
    keys.insert(sealed.substr(1, 32));
    ciphertexts.insert(sealed.substr(33));
  }
  EXPECT_EQ(keys.size(), 100U);
  EXPECT_EQ(ciphertexts.size(), 100U);
}

// Every bit, for X25519 alone doesn't look at the last one of a public key.
TEST(Seal, MSG_12_opens_nothing_once_a_bit_is_changed) {
  const StorageKey key = NewKey();
  const string sealed = SealFor(key.PublicPem(), "a text").value_or(""s);
  ASSERT_EQ(key.Open(sealed), "a text");
  for (size_t i = 0; i < 8 * sealed.size(); ++i) {
    string changed = sealed;
    changed[i / 8] = static_cast<char>(changed[i / 8] ^ (1U << i % 8));
    EXPECT_FALSE(key.Open(changed)) << i;
    EXPECT_EQ(ERR_peek_error(), 0U) << "left in libcrypto's queue";
  }
  for (size_t size = 0; size < sealed.size(); ++size) {
    EXPECT_FALSE(key.Open(sealed.substr(0, size))) << size;
    EXPECT_FALSE(key.Open(sealed.substr(size + 1))) << size;
  }
  EXPECT_FALSE(key.Open(sealed + "\0"s));
  EXPECT_FALSE(key.Open(sealed + sealed));
}

// Public keys whose secret is 0 whatever the other key is: RFC 7748, 6.1.
TEST(Seal, MSG_12_refuses_keys_of_low_order) {
  const StorageKey key = NewKey();
  for (const string& point :
       {string(32, '\0'), "\1"s + string(31, '\0'), "\xec"s + string(30, '\xff') + "\x7f",
        "\xed"s + string(30, '\xff') + "\x7f", "\xee"s + string(30, '\xff') + "\x7f"}) {
    EXPECT_FALSE(key.Open("\1"s + point + string(64, '\0')));
  }
}

TEST(Seal, MSG_12_seals_for_an_x25519_key_only) {
  ASSERT_TRUE(SealFor(kPublicPem, "text"));
  for (const string& pem :
       {""s, "\0"s, "text"s, "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"s,
        string(kPublicPem.substr(0, 60)), string(kPrivatePem), string(kX448Public),
        string(kP256Public), string(1000000, '-')}) {
    EXPECT_FALSE(SealFor(pem, "text")) << pem.substr(0, 200);
    EXPECT_EQ(ERR_peek_error(), 0U) << "left in libcrypto's queue";
  }
}

// -- Keys --

TEST(Seal, MSG_12_storage_key_writes_what_it_reads) {
  const StorageKey fixed = FixedKey();
  EXPECT_EQ(fixed.PrivatePem(), kPrivatePem);
  EXPECT_EQ(fixed.PublicPem(), kPublicPem);

  const StorageKey key = NewKey();
  EXPECT_NE(key.PublicPem(), fixed.PublicPem());
  const auto again = StorageKey::FromPem(key.PrivatePem());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->PublicPem(), key.PublicPem());
  EXPECT_EQ(again->Open(SealFor(key.PublicPem(), "text").value_or(""s)), "text");
  EXPECT_EQ(again->Decrypt(key.Encrypt("text", ""), ""), "text");
  EXPECT_EQ(again->Mac("text"), key.Mac("text"));
}

TEST(Seal, MSG_12_storage_key_is_x25519_only) {
  for (const string& pem :
       {""s, "\0"s, "text"s, string(kPublicPem), string(kX448Private), string(kPassPhrase),
        string(kPrivatePem.substr(0, 80)), string(1000000, '-')}) {
    EXPECT_FALSE(StorageKey::FromPem(pem)) << pem.substr(0, 200);
    EXPECT_EQ(ERR_peek_error(), 0U) << "left in libcrypto's queue";
  }
}

// -- The queue --

TEST(Seal, MSG_12_decrypts_what_it_has_encrypted_in_its_place) {
  const StorageKey key = NewKey();
  const StorageKey other = NewKey();
  for (const string& text : Texts()) {
    for (const string& context : {""s, "a"s, "\0"s, AllOctets()}) {
      const string sealed = key.Encrypt(text, context);
      EXPECT_EQ(sealed.size(), text.size() + kQueueOverhead);
      EXPECT_TRUE(key.Decrypt(sealed, context) == text) << text.size();
      EXPECT_FALSE(key.Decrypt(sealed, context + "x"));
      EXPECT_FALSE(key.Decrypt(sealed, "other"));
      EXPECT_FALSE(other.Decrypt(sealed, context));
      EXPECT_FALSE(key.Open(sealed));
    }
  }
  EXPECT_FALSE(key.Decrypt(SealFor(key.PublicPem(), "text").value_or(""s), ""));
}

TEST(Seal, MSG_12_never_encrypts_twice_the_same_way) {
  const StorageKey key = NewKey();
  std::set<string> nonces;
  std::set<string> ciphertexts;
  for (int i = 0; i < 1000; ++i) {
    const string sealed = key.Encrypt("same text", "same place");
    nonces.insert(sealed.substr(1, 24));
    ciphertexts.insert(sealed.substr(25));
  }
  EXPECT_EQ(nonces.size(), 1000U);
  EXPECT_EQ(ciphertexts.size(), 1000U);
}

TEST(Seal, MSG_12_decrypts_nothing_once_a_bit_is_changed) {
  const StorageKey key = NewKey();
  const string sealed = key.Encrypt("a text", "place");
  for (size_t i = 0; i < 8 * sealed.size(); ++i) {
    string changed = sealed;
    changed[i / 8] = static_cast<char>(changed[i / 8] ^ (1U << i % 8));
    EXPECT_FALSE(key.Decrypt(changed, "place")) << i;
  }
  for (size_t size = 0; size < sealed.size(); ++size) {
    EXPECT_FALSE(key.Decrypt(sealed.substr(0, size), "place")) << size;
  }
  EXPECT_FALSE(key.Decrypt(sealed + "\0"s, "place"));
  EXPECT_EQ(ERR_peek_error(), 0U) << "left in libcrypto's queue";
  EXPECT_EQ(key.Decrypt(sealed, "place"), "a text") << "a failure must not outlast its call";
}

TEST(Seal, MSG_12_names_depend_on_key_and_text) {
  const StorageKey key = NewKey();
  EXPECT_EQ(key.Mac("text").size(), 32U);
  EXPECT_EQ(key.Mac("").size(), 32U);
  EXPECT_EQ(key.Mac("text"), key.Mac("text"));
  EXPECT_NE(key.Mac("text"), key.Mac("texts"));
  EXPECT_NE(key.Mac("text"), NewKey().Mac("text"));
}

// -- libcoi_seal.so --

class SealLibrary : public testing::Test {
 protected:
  void SetUp() override {
    library_.reset(dlopen(COI_SEAL_PATH, RTLD_NOW | RTLD_LOCAL));
    ASSERT_NE(library_, nullptr) << dlerror();
    get_ = reinterpret_cast<coi_seal_func_t*>(dlsym(library_.get(), COI_SEAL_SYMBOL));
    ASSERT_NE(get_, nullptr);
    seal_ = get_(COI_SEAL_VERSION);
    ASSERT_NE(seal_, nullptr);
  }

  struct Close {
    void operator()(void* library) const {
      dlclose(library);
    }
  };
  std::unique_ptr<void, Close> library_;
  coi_seal_func_t* get_ = nullptr;
  const struct coi_seal* seal_ = nullptr;
};

struct coi_bytes ToBytes(string_view text) {
  return {.data = text.data(), .size = text.size()};
}

TEST_F(SealLibrary, Has_its_version_only) {
  EXPECT_EQ(seal_->version, static_cast<unsigned int>(COI_SEAL_VERSION));
  EXPECT_EQ(get_(COI_SEAL_VERSION - 1), nullptr);
  EXPECT_EQ(get_(COI_SEAL_VERSION + 1), nullptr);
}

TEST_F(SealLibrary, MSG_12_seals_what_the_service_opens) {
  const StorageKey key = FixedKey();
  for (const string& text : Texts()) {
    const auto buf = std::make_unique<char[]>(text.size() + COI_SEAL_OVERHEAD);
    const size_t size = seal_->seal(ToBytes(kPublicPem), ToBytes(text), buf.get());
    EXPECT_GT(size, 0U);
    EXPECT_TRUE(key.Open(string_view(buf.get(), size)) == text) << text.size();
  }
}

TEST_F(SealLibrary, MSG_12_says_when_the_key_is_bad) {
  std::array<char, 4 + COI_SEAL_OVERHEAD> buf = {};
  for (const string_view pem : {string_view(), string_view("text"), kPrivatePem, kP256Public}) {
    EXPECT_EQ(seal_->seal(ToBytes(pem), ToBytes("text"), buf.data()), 0U);
  }
  EXPECT_GT(seal_->seal(ToBytes(kPublicPem), {.data = nullptr, .size = 0}, buf.data()), 0U);
}

TEST(SealLibraryFile, Exports_one_symbol) {
#ifdef COI_SANITIZED
  GTEST_SKIP() << "sanitizers export more";
#endif
  const auto close = [](FILE* file) { EXPECT_EQ(pclose(file), 0); };
  const std::unique_ptr<FILE, decltype(close)> nm(
      popen("'" COI_NM "' -D --defined-only --format=posix '" COI_SEAL_PATH "'", "r"), close);
  ASSERT_NE(nm, nullptr);
  string symbols;
  std::array<char, 512> line = {};
  while (fgets(line.data(), line.size(), nm.get()) != nullptr) {
    const string text = line.data();
    symbols += text.substr(0, text.find(' ')) + "\n";
  }
  EXPECT_EQ(symbols, COI_SEAL_SYMBOL "\n");
}

}  // namespace
}  // namespace coi::push

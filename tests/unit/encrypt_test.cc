// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "push/encrypt.h"

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "push/payload.h"
#include "util/base64.h"

namespace coi::push {
namespace {

using std::nullopt;
using std::optional;
using std::string;
using std::string_view;
using namespace std::string_literals;

constexpr size_t kSaltSize = 16;
constexpr size_t kPointSize = 65;
constexpr size_t kHeaderSize = 86;
constexpr size_t kTagSize = 16;

string Decode(string_view base64) {
  const auto bytes = util::DecodeBase64(base64);
  EXPECT_TRUE(bytes) << base64;
  return bytes.value_or(""s);
}

// RFC 8291, Appendix A.
const string kRfcPlaintext = "When I grow up, I want to be a watermelon";
const string kRfcSalt = Decode("DGv6ra1nlYgDCS1FRnbzlw");
const string kRfcSenderPrivate = Decode("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw");
const string kRfcSenderPublic = Decode(
    "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8");
const string kRfcReceiverPrivate = Decode("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94");
const string kRfcReceiverPublic = Decode(
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4");
const string kRfcAuth = Decode("BTBZMqHH6r4Tts7J_aSIgg");
const string kRfcMessage = Decode(
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
    "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
    "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN");

// -- A receiver of our own: another way through libcrypto than the sender's --

struct Free {
  void operator()(EVP_PKEY* key) const {
    EVP_PKEY_free(key);
  }
  void operator()(EVP_PKEY_CTX* ctx) const {
    EVP_PKEY_CTX_free(ctx);
  }
  void operator()(EVP_CIPHER_CTX* ctx) const {
    EVP_CIPHER_CTX_free(ctx);
  }
};

template <typename T>
using Ptr = std::unique_ptr<T, Free>;

unsigned char* Octets(string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

const unsigned char* Octets(string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

string Hkdf(string key, string salt, string info, size_t size) {
  const Ptr<EVP_PKEY_CTX> ctx(EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, nullptr));
  string out(size, '\0');
  EXPECT_EQ(EVP_PKEY_derive_init(ctx.get()), 1);
  EXPECT_EQ(EVP_PKEY_CTX_set_hkdf_md(ctx.get(), EVP_sha256()), 1);
  EXPECT_EQ(EVP_PKEY_CTX_set1_hkdf_key(ctx.get(), Octets(key), static_cast<int>(key.size())), 1);
  EXPECT_EQ(EVP_PKEY_CTX_set1_hkdf_salt(ctx.get(), Octets(salt), static_cast<int>(salt.size())), 1);
  EXPECT_EQ(EVP_PKEY_CTX_add1_hkdf_info(ctx.get(), Octets(info), static_cast<int>(info.size())), 1);
  EXPECT_EQ(EVP_PKEY_derive(ctx.get(), Octets(out), &size), 1);
  return out;
}

Ptr<EVP_PKEY> PeerKey(string point) {
  const Ptr<EVP_PKEY_CTX> ctx(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  string group = "P-256";
  const std::array params = {
      OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group.data(), 0),
      OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()),
      OSSL_PARAM_construct_end()};
  EVP_PKEY* key = nullptr;
  EXPECT_EQ(EVP_PKEY_fromdata_init(ctx.get()), 1);
  EXPECT_EQ(EVP_PKEY_fromdata(ctx.get(), &key, EVP_PKEY_PUBLIC_KEY,
                              const_cast<OSSL_PARAM*>(params.data())),
            1);
  return Ptr<EVP_PKEY>(key);
}

class Receiver {
 public:
  Receiver() : key_(EVP_EC_gen("P-256")), auth_("0123456789abcdef") {
    public_.resize(kPointSize);
    size_t size = 0;
    EXPECT_EQ(EVP_PKEY_get_octet_string_param(key_.get(), OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY,
                                              Octets(public_), public_.size(), &size),
              1);
  }

  const string& public_key() const {
    return public_;
  }
  const string& auth() const {
    return auth_;
  }

  // RFC 8291, 3 and 4; RFC 8188, 2.
  optional<string> Decrypt(const string& body) const {
    if (body.size() < kHeaderSize + 1 + kTagSize || body.substr(16, 5) != "\0\0\x10\0\x41"s) {
      return nullopt;
    }
    const string salt = body.substr(0, kSaltSize);
    const string sender = body.substr(21, kPointSize);
    const Ptr<EVP_PKEY> peer = PeerKey(sender);
    const Ptr<EVP_PKEY_CTX> ctx(EVP_PKEY_CTX_new(key_.get(), nullptr));
    string shared(32, '\0');
    size_t shared_size = shared.size();
    EXPECT_EQ(EVP_PKEY_derive_init(ctx.get()), 1);
    EXPECT_EQ(EVP_PKEY_derive_set_peer(ctx.get(), peer.get()), 1);
    EXPECT_EQ(EVP_PKEY_derive(ctx.get(), Octets(shared), &shared_size), 1);
    const string ikm = Hkdf(shared, auth_, "WebPush: info\0"s + public_ + sender, 32);
    const string key = Hkdf(ikm, salt, "Content-Encoding: aes128gcm\0"s, 16);
    const string nonce = Hkdf(ikm, salt, "Content-Encoding: nonce\0"s, 12);

    string tag = body.substr(body.size() - kTagSize);
    const string text = body.substr(kHeaderSize, body.size() - kHeaderSize - kTagSize);
    string plaintext(text.size() + 16, '\0');
    const Ptr<EVP_CIPHER_CTX> cipher(EVP_CIPHER_CTX_new());
    int size = 0;
    int last = 0;
    EXPECT_EQ(EVP_DecryptInit(cipher.get(), EVP_aes_128_gcm(), Octets(key), Octets(nonce)), 1);
    EXPECT_EQ(EVP_DecryptUpdate(cipher.get(), Octets(plaintext), &size, Octets(text),
                                static_cast<int>(text.size())),
              1);
    EXPECT_EQ(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_AEAD_SET_TAG, kTagSize, tag.data()), 1);
    if (EVP_DecryptFinal(cipher.get(), Octets(plaintext) + size, &last) != 1) {
      return nullopt;
    }
    plaintext.resize(static_cast<size_t>(size) + static_cast<size_t>(last));
    // The last record ends with 2 and zeros.
    const size_t end = plaintext.find_last_not_of('\0');
    if (end == string::npos || plaintext[end] != 2) {
      return nullopt;
    }
    plaintext.resize(end);
    return plaintext;
  }

 private:
  Ptr<EVP_PKEY> key_;
  string public_;
  string auth_;
};

TEST(Encrypt, MSG_6_gives_the_message_of_rfc_8291) {
  Encrypter encrypter;
  string body;
  ASSERT_TRUE(encrypter.EncryptWith(kRfcSenderPrivate, kRfcSalt, kRfcReceiverPublic, kRfcAuth,
                                    kRfcPlaintext, &body));
  EXPECT_EQ(util::EncodeBase64Url(body), util::EncodeBase64Url(kRfcMessage));
  EXPECT_EQ(body.substr(21, kPointSize), kRfcSenderPublic);
}

TEST(Encrypt, MSG_6_has_the_header_of_rfc_8188_and_one_record) {
  Encrypter encrypter;
  const Receiver receiver;
  string body;
  for (const size_t size : {0U, 1U, 15U, 16U, 1000U, 3993U}) {
    ASSERT_TRUE(
        encrypter.Encrypt(receiver.public_key(), receiver.auth(), string(size, 'x'), &body));
    EXPECT_EQ(body.size(), size + kEncryptOverhead);
    EXPECT_EQ(body.substr(16, 4), "\0\0\x10\0"s) << "record size";
    EXPECT_EQ(body.substr(20, 2), "\x41\x04"s) << "length of the key id, and a point";
    EXPECT_LE(body.size(), 4096U);
    EXPECT_LE(body.size() - kHeaderSize, 4096U) << "more than one record";
  }
}

TEST(Encrypt, MSG_6_is_decrypted_by_its_receiver) {
  Encrypter encrypter;
  string all_octets;
  for (int i = 0; i < 256; ++i) {
    all_octets += static_cast<char>(i);
  }
  string body;
  for (const string& text :
       {""s, "x"s, "\0"s, "\2\0"s, all_octets, string(3992, 'y'), string(kMaxPayload, '\0')}) {
    const Receiver receiver;
    ASSERT_TRUE(encrypter.Encrypt(receiver.public_key(), receiver.auth(), text, &body));
    EXPECT_EQ(receiver.Decrypt(body), text);
    EXPECT_FALSE(Receiver().Decrypt(body)) << "by someone else";
  }
}

TEST(Encrypt, MSG_6_fails_once_an_octet_is_changed) {
  Encrypter encrypter;
  const Receiver receiver;
  string body;
  ASSERT_TRUE(encrypter.Encrypt(receiver.public_key(), receiver.auth(), "text", &body));
  ASSERT_EQ(receiver.Decrypt(body), "text");
  for (size_t i = 0; i < body.size(); ++i) {
    if (i >= 16 && i < kHeaderSize) {
      continue;  // the header: no key then, or another one
    }
    string changed = body;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_FALSE(receiver.Decrypt(changed)) << i;
  }
}

TEST(Encrypt, MSG_6_takes_at_most_3993_octets) {
  Encrypter encrypter;
  const Receiver receiver;
  string body = "left over";
  EXPECT_FALSE(encrypter.Encrypt(receiver.public_key(), receiver.auth(),
                                 string(kMaxPayload + 1, 'x'), &body));
  EXPECT_EQ(body, "");
  EXPECT_FALSE(encrypter.EncryptWith(kRfcSenderPrivate, kRfcSalt, kRfcReceiverPublic, kRfcAuth,
                                     string(kMaxPayload + 1, 'x'), &body));
  ASSERT_TRUE(
      encrypter.Encrypt(receiver.public_key(), receiver.auth(), string(kMaxPayload, 'x'), &body));
  EXPECT_EQ(body.size(), 4096U);
}

TEST(Encrypt, MSG_6_makes_a_key_and_a_salt_for_every_message) {
  Encrypter encrypter;
  const Receiver receiver;
  constexpr size_t kMessages = 100;
  std::set<string> salts;
  std::set<string> keys;
  std::set<string> ciphertexts;
  for (size_t i = 0; i < kMessages; ++i) {
    string body;
    ASSERT_TRUE(encrypter.Encrypt(receiver.public_key(), receiver.auth(), "same text", &body));
    salts.insert(body.substr(0, kSaltSize));
    keys.insert(body.substr(21, kPointSize));
    ciphertexts.insert(body.substr(kHeaderSize));
  }
  EXPECT_EQ(salts.size(), kMessages);
  EXPECT_EQ(keys.size(), kMessages);
  EXPECT_EQ(ciphertexts.size(), kMessages);
}

struct BadKey {
  const char* name;
  string key;
};

std::vector<BadKey> BadKeys() {
  const string& good = kRfcReceiverPublic;
  string other_y = good;
  other_y.back() = static_cast<char>(other_y.back() ^ 1);
  string other_x = good;
  other_x[1] = static_cast<char>(other_x[1] ^ 1);
  // The point with x = 0 is on the curve; so is, as numbers go, that with x + p.
  const string small_x = Decode(
      "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAZkhceA4vg9ckM71dhKBrtlQcKvMdrocXKL-FahdPk_Q");
  EXPECT_TRUE(Encrypter().IsPublicKey(small_x));
  const string not_reduced = Decode(
      "BP____8AAAABAAAAAAAAAAAAAAAA________________ZkhceA4vg9ckM71dhKBrtlQcKvMdrocXKL-FahdPk_Q");
  return {
      {"empty", ""},
      {"infinity", "\0"s},
      {"infinity_padded", string(65, '\0')},
      {"zero", "\4"s + string(64, '\0')},
      {"ones", "\4"s + string(64, '\xff')},
      {"not_reduced", not_reduced},
      {"other_x", other_x},
      {"other_y", other_y},
      {"swapped", "\4"s + good.substr(33) + good.substr(1, 32)},
      {"compressed", "\2"s + good.substr(1, 32)},
      {"compressed_padded", "\2"s + good.substr(1)},
      {"hybrid_even", "\6"s + good.substr(1)},
      {"hybrid_odd", "\7"s + good.substr(1)},
      {"no_form", good.substr(1)},
      {"form_0", "\0"s + good.substr(1)},
      {"form_5", "\5"s + good.substr(1)},
      {"short", good.substr(0, 64)},
      {"long", good + "\0"s},
      {"p384", "\4"s + string(96, '\1')},
      {"text", "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPj"},
  };
}

TEST(Encrypt, SUB_3_refuses_what_is_no_point_of_the_curve) {
  Encrypter encrypter;
  for (const BadKey& bad : BadKeys()) {
    SCOPED_TRACE(bad.name);
    EXPECT_FALSE(encrypter.IsPublicKey(bad.key));
    string body = "left over";
    EXPECT_FALSE(encrypter.Encrypt(bad.key, kRfcAuth, "text", &body));
    EXPECT_EQ(body, "");
    EXPECT_FALSE(encrypter.EncryptWith(kRfcSenderPrivate, kRfcSalt, bad.key, kRfcAuth, "", &body));
    EXPECT_EQ(ERR_peek_error(), 0U) << "left in libcrypto's queue";

    // Nothing of it is left for the next message.
    EXPECT_TRUE(encrypter.IsPublicKey(kRfcReceiverPublic));
    ASSERT_TRUE(encrypter.EncryptWith(kRfcSenderPrivate, kRfcSalt, kRfcReceiverPublic, kRfcAuth,
                                      kRfcPlaintext, &body));
    EXPECT_EQ(body, kRfcMessage);
  }
}

TEST(Encrypt, SUB_3_refuses_a_secret_that_has_not_16_octets) {
  Encrypter encrypter;
  string body;
  for (const size_t size : {0U, 15U, 17U, 32U}) {
    EXPECT_FALSE(encrypter.Encrypt(kRfcReceiverPublic, string(size, 'a'), "text", &body));
  }
}

TEST(Encrypt, EncryptWith_refuses_what_is_no_private_key) {
  Encrypter encrypter;
  string body;
  const string order =
      "\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"
      "\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51"s;
  for (const string& key :
       {""s, string(32, '\0'), order, string(32, '\xff'), string(31, '\1'), string(33, '\1')}) {
    EXPECT_FALSE(encrypter.EncryptWith(key, kRfcSalt, kRfcReceiverPublic, kRfcAuth, "", &body));
    EXPECT_EQ(ERR_peek_error(), 0U);
  }
  EXPECT_FALSE(
      encrypter.EncryptWith(kRfcSenderPrivate, "short", kRfcReceiverPublic, kRfcAuth, "", &body));
}

// libcurl and Dovecot look at the same queue.
TEST(Encrypt, Leaves_what_others_have_in_libcryptos_error_queue) {
  Encrypter encrypter;
  ERR_raise(ERR_LIB_USER, 1);
  const unsigned long error = ERR_peek_error();
  string body;
  EXPECT_FALSE(encrypter.Encrypt(string(65, '\4'), kRfcAuth, "", &body));
  EXPECT_TRUE(encrypter.Encrypt(kRfcReceiverPublic, kRfcAuth, "", &body));
  EXPECT_EQ(ERR_get_error(), error);
  EXPECT_EQ(ERR_get_error(), 0U);
}

}  // namespace
}  // namespace coi::push

// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "push/vapid.h"

#include <gtest/gtest.h>
#include <jansson.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "util/base64.h"

namespace coi::push {
namespace {

using std::nullopt;
using std::optional;
using std::string;
using std::string_view;
using namespace std::string_literals;

// -- Keys made with OpenSSL's tools, for this test alone --

// The same key in all its forms.
constexpr string_view kPkcs8 =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgFsI1wcuAfvC36DAC\n"
    "VmhAMWJe5fJqC/ORHJu8MvzD+qWhRANCAARcbiK5+RqTY7q8z6SJgJ9Qrk7SuISJ\n"
    "HKzhdhTGX6UZ2Ov7y3MHJpUBY5RCRfhN6YjnPQ1+f0VFat7Nv0f2jPSW\n"
    "-----END PRIVATE KEY-----\n";

constexpr string_view kSec1 =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MHcCAQEEIBbCNcHLgH7wt+gwAlZoQDFiXuXyagvzkRybvDL8w/qloAoGCCqGSM49\n"
    "AwEHoUQDQgAEXG4iufkak2O6vM+kiYCfUK5O0riEiRys4XYUxl+lGdjr+8tzByaV\n"
    "AWOUQkX4TemI5z0Nfn9FRWrezb9H9oz0lg==\n"
    "-----END EC PRIVATE KEY-----\n";

constexpr string_view kSec1WithParameters =
    "-----BEGIN EC PARAMETERS-----\n"
    "BggqhkjOPQMBBw==\n"
    "-----END EC PARAMETERS-----\n"
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MHcCAQEEIBbCNcHLgH7wt+gwAlZoQDFiXuXyagvzkRybvDL8w/qloAoGCCqGSM49\n"
    "AwEHoUQDQgAEXG4iufkak2O6vM+kiYCfUK5O0riEiRys4XYUxl+lGdjr+8tzByaV\n"
    "AWOUQkX4TemI5z0Nfn9FRWrezb9H9oz0lg==\n"
    "-----END EC PRIVATE KEY-----\n";

constexpr string_view kSec1Compressed =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MFcCAQEEIBbCNcHLgH7wt+gwAlZoQDFiXuXyagvzkRybvDL8w/qloAoGCCqGSM49\n"
    "AwEHoSQDIgACXG4iufkak2O6vM+kiYCfUK5O0riEiRys4XYUxl+lGdg=\n"
    "-----END EC PRIVATE KEY-----\n";

constexpr string_view kSec1NoPublic =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MDECAQEEIBbCNcHLgH7wt+gwAlZoQDFiXuXyagvzkRybvDL8w/qloAoGCCqGSM49\n"
    "AwEH\n"
    "-----END EC PRIVATE KEY-----\n";

constexpr string_view kPublic =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEXG4iufkak2O6vM+kiYCfUK5O0riE\n"
    "iRys4XYUxl+lGdjr+8tzByaVAWOUQkX4TemI5z0Nfn9FRWrezb9H9oz0lg==\n"
    "-----END PUBLIC KEY-----\n";

// What is refused. The first three are that key, too.
constexpr string_view kExplicitCurve =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MIIBaAIBAQQgFsI1wcuAfvC36DACVmhAMWJe5fJqC/ORHJu8MvzD+qWggfowgfcC\n"
    "AQEwLAYHKoZIzj0BAQIhAP////8AAAABAAAAAAAAAAAAAAAA////////////////\n"
    "MFsEIP////8AAAABAAAAAAAAAAAAAAAA///////////////8BCBaxjXYqjqT57Pr\n"
    "vVV2mIa8ZR0GsMxTsPY7zjw+J9JgSwMVAMSdNgiG5wSTamZ44ROdJreBn36QBEEE\n"
    "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54W\n"
    "K84zV2sxXs7LtkBoN79R9QIhAP////8AAAAA//////////+85vqtpxeehPO5ysL8\n"
    "YyVRAgEBoUQDQgAEXG4iufkak2O6vM+kiYCfUK5O0riEiRys4XYUxl+lGdjr+8tz\n"
    "ByaVAWOUQkX4TemI5z0Nfn9FRWrezb9H9oz0lg==\n"
    "-----END EC PRIVATE KEY-----\n";

constexpr string_view kPkcs8PassPhrase =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
    "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjDyJaAZNXr/QICCAAw\n"
    "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEECG59OT+xtPd5k+arMGUj3sEgZCc\n"
    "zILTVhtQd2R2Cj3/GRSJtnDzuBO8WQLiBCan7Qn298e+GL+End/RMMRKzYqJGtMG\n"
    "XkRRND7o5B1iRepq5UnrAizDtXfGyTWVizzMQAowxCGCczCk6xjQcLmPmEuORrN3\n"
    "Q+FafzzFXsUxSrfkY4o+ERB7foOBI5zkbiLTRMqnbvJIIdSeD6XKYsFF/xsjtV8=\n"
    "-----END ENCRYPTED PRIVATE KEY-----\n";

constexpr string_view kSec1PassPhrase =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "Proc-Type: 4,ENCRYPTED\n"
    "DEK-Info: AES-128-CBC,48321ED615A1C9FBE56C641E36E3DA1B\n"
    "\n"
    "Hb2ygZ4gWWJxwOOIxSF2YHjr+eg+fYmykHqefQ6jZJ0pn6LPW0zT7X9MQkfPOVo3\n"
    "DKm0Zr5IaJF8Y9HRgua8pjBcTnIoEpBUz1u2D9kpi2VoKTxkC7Qn0pwN+EJvNHEm\n"
    "V05WoPAqlDPGoCNYbuNE4ty/o5seUSfzCWIUbHJmDEU=\n"
    "-----END EC PRIVATE KEY-----\n";

constexpr string_view kP384 =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MIGkAgEBBDCg/x+zajj/ZwbhMyXwYZnN3d8lAMo640wlMujON9fe/Q+dFXw5v8mt\n"
    "8M/q9MNN6tOgBwYFK4EEACKhZANiAAQZWSOkF3ScvNN+v0IcYD/wow5FdlSXeBoB\n"
    "YPsUJ1hLEVFyvZ4eA50+MGocK55+atWV19wKVxe/SZ0TO2x0S2pJvZ5xm7TDA69N\n"
    "YcJQU/E0LdmIe2uNX2z9eQ8PLTIinFU=\n"
    "-----END EC PRIVATE KEY-----\n";

constexpr string_view kSecp256k1 =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MHQCAQEEINdYoyhmbqyMlQL+tbTTZ5A54iARqMtvGdpdwlasbp+XoAcGBSuBBAAK\n"
    "oUQDQgAE2+sElv0Gbhdef+QhKCuGHTl4ubFmggHmdTBemUmIA1YKt5A3G9WznaTM\n"
    "U9Mbml/0DYrJfCzOZkYDXQelTh2rCg==\n"
    "-----END EC PRIVATE KEY-----\n";

constexpr string_view kEd25519 =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEICrLW+C3PLTP6fx8rlwtCI6Ecin6zfQ/MxRIzfSTRB+6\n"
    "-----END PRIVATE KEY-----\n";

struct Free {
  void operator()(BIO* bio) const {
    BIO_free(bio);
  }
  void operator()(EVP_PKEY* key) const {
    EVP_PKEY_free(key);
  }
  void operator()(EVP_PKEY_CTX* ctx) const {
    EVP_PKEY_CTX_free(ctx);
  }
  void operator()(EVP_MD_CTX* ctx) const {
    EVP_MD_CTX_free(ctx);
  }
  void operator()(ECDSA_SIG* signature) const {
    ECDSA_SIG_free(signature);
  }
  void operator()(json_t* json) const {
    json_decref(json);
  }
};

template <typename T>
using Ptr = std::unique_ptr<T, Free>;

string Decode(string_view base64) {
  const auto bytes = util::DecodeBase64(base64);
  EXPECT_TRUE(bytes) << base64;
  return bytes.value_or(""s);
}

// The parts of an Authorization header.
struct Token {
  string signed_text;
  string header;
  string claims;
  string signature;
  string key;
};

optional<Token> ParseToken(const string& authorization) {
  const size_t comma = authorization.find(", k=");
  if (!authorization.starts_with("vapid t=") || comma == string::npos ||
      authorization.find_first_of("\r\n=", comma + 4) != string::npos) {
    return nullopt;
  }
  const string token = authorization.substr(8, comma - 8);
  const size_t first = token.find('.');
  const size_t second = token.find('.', first + 1);
  if (second == string::npos || token.find('.', second + 1) != string::npos ||
      token.find('=') != string::npos) {
    return nullopt;
  }
  return Token{.signed_text = token.substr(0, second),
               .header = Decode(token.substr(0, first)),
               .claims = Decode(token.substr(first + 1, second - first - 1)),
               .signature = Decode(token.substr(second + 1)),
               .key = Decode(authorization.substr(comma + 4))};
}

bool Verify(const Token& token) {
  if (token.signature.size() != 64 || token.key.size() != 65) {
    return false;
  }
  const auto* raw = reinterpret_cast<const unsigned char*>(token.signature.data());
  const Ptr<ECDSA_SIG> signature(ECDSA_SIG_new());
  ECDSA_SIG_set0(signature.get(), BN_bin2bn(raw, 32, nullptr), BN_bin2bn(raw + 32, 32, nullptr));
  std::array<unsigned char, 80> der = {};
  unsigned char* out = der.data();
  const int size = i2d_ECDSA_SIG(signature.get(), &out);

  string group = "P-256";
  string point = token.key;
  std::array params = {
      OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group.data(), 0),
      OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()),
      OSSL_PARAM_construct_end()};
  const Ptr<EVP_PKEY_CTX> ctx(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* key = nullptr;
  EXPECT_EQ(EVP_PKEY_fromdata_init(ctx.get()), 1);
  EXPECT_EQ(EVP_PKEY_fromdata(ctx.get(), &key, EVP_PKEY_PUBLIC_KEY, params.data()), 1);
  const Ptr<EVP_PKEY> owner(key);
  const Ptr<EVP_MD_CTX> md(EVP_MD_CTX_new());
  const bool is_good =
      EVP_DigestVerifyInit(md.get(), nullptr, EVP_sha256(), nullptr, key) == 1 &&
      EVP_DigestVerify(md.get(), der.data(), static_cast<size_t>(size),
                       reinterpret_cast<const unsigned char*>(token.signed_text.data()),
                       token.signed_text.size()) == 1;
  ERR_clear_error();
  return is_good;
}

// Checks the checker: RFC 8292, 2.4.
TEST(Vapid, MSG_7_example_of_rfc_8292_verifies) {
  const auto token = ParseToken(
      "vapid t=eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQi"
      "LCJleHAiOjE0NTM1MjM3NjgsInN1YiI6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOe"
      "pC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDXb1JrErtmysazNjjvW2L9OkSSHzvoD1oA, "
      "k=BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs");
  ASSERT_TRUE(token);
  EXPECT_TRUE(Verify(*token));
  Token changed = *token;
  changed.signed_text.back() = 'x';
  EXPECT_FALSE(Verify(changed));

  // Ours differs in the key and the signature alone.
  const auto key = VapidKey::Generate();
  ASSERT_TRUE(key);
  const auto own = ParseToken(
      key->Authorization("https://push.example.net", "mailto:push@example.com", 1453523768));
  ASSERT_TRUE(own);
  EXPECT_EQ(own->signed_text, token->signed_text);
}

TEST(Vapid, MSG_7_token_says_what_it_was_told) {
  struct Case {
    const char* origin;
    const char* subject;
    int64_t exp;
  };
  constexpr std::array kCases = {
      Case{"https://fcm.googleapis.com", "mailto:admin@example.com", 1700000000},
      Case{"https://push.example.com:8443", "https://example.com/contact?a=b&c=d", 4102444800},
      Case{"http://127.0.0.1:9000", "mailto:o'neil+\"x\"\\@example.com", 1},
      Case{"https://[2001:db8::1]:444", "mailto:j\xc3\xb6rg@example.com", 253402300799},
  };
  const auto key = VapidKey::Generate();
  ASSERT_TRUE(key);
  for (const Case& test : kCases) {
    SCOPED_TRACE(test.origin);
    const auto token = ParseToken(key->Authorization(test.origin, test.subject, test.exp));
    ASSERT_TRUE(token);
    EXPECT_TRUE(Verify(*token));
    EXPECT_EQ(token->key, Decode(key->PublicKey()));
    EXPECT_EQ(token->header, R"({"typ":"JWT","alg":"ES256"})");

    const Ptr<json_t> claims(json_loads(token->claims.c_str(), JSON_REJECT_DUPLICATES, nullptr));
    ASSERT_NE(claims, nullptr) << token->claims;
    EXPECT_EQ(json_object_size(claims.get()), 3U);
    EXPECT_STREQ(json_string_value(json_object_get(claims.get(), "aud")), test.origin);
    EXPECT_STREQ(json_string_value(json_object_get(claims.get(), "sub")), test.subject);
    EXPECT_EQ(json_integer_value(json_object_get(claims.get(), "exp")), test.exp);
  }
}

TEST(Vapid, MSG_7_leaves_an_empty_subject_out) {
  const auto key = VapidKey::Generate();
  ASSERT_TRUE(key);
  const auto token = ParseToken(key->Authorization("https://push.example.net", "", 1));
  ASSERT_TRUE(token);
  EXPECT_EQ(token->claims, R"({"aud":"https://push.example.net","exp":1})");
}

TEST(Vapid, MSG_7_makes_no_token_of_what_is_not_utf8) {
  const auto key = VapidKey::Generate();
  ASSERT_TRUE(key);
  EXPECT_EQ(key->Authorization("https://push\xff.example.net", "mailto:a@example.com", 1), "");
  EXPECT_EQ(key->Authorization("https://push.example.net", "mailto:\xff@example.com", 1), "");
}

// One of 128 signatures has a number with a leading zero, which DER leaves out.
TEST(Vapid, MSG_7_signature_has_64_octets_whatever_its_numbers) {
  const auto key = VapidKey::FromPem(kPkcs8);
  ASSERT_TRUE(key);
  int short_r = 0;
  int short_s = 0;
  for (int i = 0; i < 20000 && (i < 500 || short_r == 0 || short_s == 0); ++i) {
    const auto token = ParseToken(key->Authorization("https://push.example.net", "", i));
    ASSERT_TRUE(token);
    ASSERT_EQ(token->signature.size(), 64U);
    const bool is_short_r = token->signature[0] == '\0';
    const bool is_short_s = token->signature[32] == '\0';
    short_r += is_short_r ? 1 : 0;
    short_s += is_short_s ? 1 : 0;
    if (is_short_r || is_short_s || i % 50 == 0) {
      ASSERT_TRUE(Verify(*token)) << i;
    }
  }
  EXPECT_GT(short_r, 0);
  EXPECT_GT(short_s, 0);
}

TEST(Vapid, SUB_1_reads_a_key_in_every_form) {
  const string point =
      "BFxuIrn5GpNjurzPpImAn1CuTtK4hIkcrOF2FMZfpRnY6_vLcwcmlQFjlEJF-E3piOc9DX5_RUVq3s2_R_aM9JY";
  for (const string_view pem :
       {kPkcs8, kSec1, kSec1WithParameters, kSec1Compressed, kSec1NoPublic}) {
    SCOPED_TRACE(pem);
    const auto key = VapidKey::FromPem(pem);
    ASSERT_TRUE(key);
    EXPECT_EQ(key->PublicPem(), kPublic);
    EXPECT_EQ(key->PublicKey(), point);
    EXPECT_EQ(key->id(), "Kco_LIZFyODGHzZd");
    const auto token = ParseToken(key->Authorization("https://push.example.net", "", 1));
    ASSERT_TRUE(token);
    EXPECT_TRUE(Verify(*token));
  }
  EXPECT_EQ(VapidKey::FromPem(kSec1)->PrivatePem(), kPkcs8);
}

TEST(Vapid, SUB_1_reads_a_key_after_an_error_of_someone_else) {
  for (const string_view pem : {kPkcs8, kSec1, kSec1WithParameters}) {
    ERR_raise(ERR_LIB_USER, 1);
    EXPECT_TRUE(VapidKey::FromPem(pem));
  }
  ERR_clear_error();
}

TEST(Vapid, SUB_1_refuses_other_keys) {
  string other_point(kSec1);
  other_point.replace(other_point.find("XG4iufka"), 8, "XG4iufkb");
  string damaged(kPkcs8);
  damaged.replace(damaged.find("BG0wawIB"), 8, "BG0wawIA");
  for (const string& pem : {""s, "\0"s, "-----BEGIN PRIVATE KEY-----\n"s,
                            "-----BEGIN PRIVATE KEY-----\n"
                            "-----END PRIVATE KEY-----\n"s,
                            string(kPublic), string(kExplicitCurve), string(kPkcs8PassPhrase),
                            string(kSec1PassPhrase), string(kP384), string(kSecp256k1),
                            string(kEd25519), other_point, damaged, string(1000000, 'x')}) {
    EXPECT_FALSE(VapidKey::FromPem(pem)) << pem.substr(0, 400);
    EXPECT_EQ(ERR_peek_error(), 0U) << "left in libcrypto's queue";
  }
}

TEST(Vapid, SUB_1_writes_what_it_reads) {
  auto key = VapidKey::Generate();
  auto other = VapidKey::Generate();
  ASSERT_TRUE(key && other);
  EXPECT_NE(key->PublicKey(), other->PublicKey());
  EXPECT_NE(key->id(), other->id());
  EXPECT_EQ(key->id().size(), 16U);

  const string pem = key->PrivatePem();
  EXPECT_TRUE(pem.starts_with("-----BEGIN PRIVATE KEY-----\n")) << "not PKCS #8";
  const auto again = VapidKey::FromPem(pem);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->PrivatePem(), pem);
  EXPECT_EQ(again->PublicPem(), key->PublicPem());
  EXPECT_EQ(again->PublicKey(), key->PublicKey());
  EXPECT_EQ(again->id(), key->id());

  *key = std::move(*other);
  EXPECT_NE(key->id(), again->id());
}

TEST(Vapid, SUB_1_public_pem_has_unix_lines_and_the_point) {
  const auto key = VapidKey::Generate();
  ASSERT_TRUE(key);
  const string pem = key->PublicPem();
  EXPECT_TRUE(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"));
  EXPECT_TRUE(pem.ends_with("\n-----END PUBLIC KEY-----\n"));
  EXPECT_EQ(pem.find('\r'), string::npos);
  const Ptr<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  const Ptr<EVP_PKEY> read(PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr));
  ASSERT_NE(read, nullptr);
  std::array<unsigned char, 65> point = {};
  size_t size = 0;
  EXPECT_EQ(EVP_PKEY_get_octet_string_param(read.get(), OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY,
                                            point.data(), point.size(), &size),
            1);
  EXPECT_EQ(string(reinterpret_cast<const char*>(point.data()), size), Decode(key->PublicKey()));
}

// -- Subjects --

TEST(VapidSubject, MSG_7_takes_contacts_that_push_services_take) {
  for (const string& subject :
       {"mailto:admin@example.com"s, "mailto:first.last+push=1@mail.example.co.uk"s,
        "mailto:a@b.de"s, "mailto:A@EXAMPLE.COM"s, "mailto:a@1and1.com"s,
        "mailto:a@localhost.example.com"s, "mailto:a@xn--bcher-kva.example"s,
        "https://example.com"s, "https://example.com/"s,
        "https://example.com:8443/contact?a=b@c#d"s, "https://example.com?a=b"s,
        "https://coi.example.com/a:b"s}) {
    EXPECT_STREQ(VapidSubjectProblem(subject), nullptr) << subject;
  }
}

TEST(VapidSubject, MSG_7_refuses_contacts_that_push_services_refuse) {
  const std::vector<string> subjects = {"",
                                        " ",
                                        "admin@example.com",
                                        "example.com",
                                        "mailto:",
                                        "mailto",
                                        "mailto:admin",
                                        "mailto:@",
                                        "mailto:admin@",
                                        "mailto:@example.com",
                                        "mailto:a@b@example.com",
                                        "mailto:a@example.com,b@example.com",
                                        "mailto://a@example.com",
                                        "mailto:a@example.com?subject=x",
                                        "mailto:a@localhost",
                                        "mailto:a@LocalHost",
                                        "mailto:root@mail.localhost",
                                        "mailto:root@localhost.localdomain",
                                        "mailto:root@mail.local",
                                        "mailto:a@b.invalid",
                                        "mailto:a@mail",
                                        "mailto:a@.com",
                                        "mailto:a@example..com",
                                        "mailto:a@example.com.",
                                        "mailto:a@-example.com",
                                        "mailto:a@exa_mple.com",
                                        "mailto:a@192.0.2.1",
                                        "mailto:a@[192.0.2.1]",
                                        "mailto:a@[IPv6:2001:db8::1]",
                                        "mailto: a@example.com",
                                        " mailto:a@example.com",
                                        "mailto:a@example.com ",
                                        "mailto:a@example.com\n",
                                        "mailto:a\tb@example.com",
                                        "mailto:<a@example.com>",
                                        "<mailto:a@example.com>",
                                        "mailto:a@ex\xc3\xa4mple.com",
                                        "mailto:a@example.com\0"s,
                                        "mailto:a@exam\x7fple.com",
                                        "MAILTO:a@example.com",
                                        "http://example.com",
                                        "http:",
                                        "https:",
                                        "https:/",
                                        "https://",
                                        "https:///path",
                                        "https:example.com",
                                        "https://localhost",
                                        "https://localhost:8080/",
                                        "https://LOCALHOST/x",
                                        "https://intranet/",
                                        "https://127.0.0.1/",
                                        "https://192.0.2.1:443",
                                        "https://127.1",
                                        "https://0x7f.0x1",
                                        "https://2130706433",
                                        "https://[::1]/",
                                        "https://[2001:db8::1]:8443/",
                                        "https://user@example.com/",
                                        "https://user:pw@example.com/",
                                        "https://example.com:",
                                        "https://example.com:0",
                                        "https://example.com:65536",
                                        "https://example.com:-1",
                                        "https://example.com:80:80",
                                        "https://example.com/a b",
                                        "https://exam%70le.com",
                                        "tel:+491234",
                                        "mailto:a@" + string(64, 'a') + ".com",
                                        "https://example.com/" + string(1000, 'a')};
  for (const string& subject : subjects) {
    EXPECT_STRNE(VapidSubjectProblem(subject), nullptr) << subject;
  }
}

}  // namespace
}  // namespace coi::push

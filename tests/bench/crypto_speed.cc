// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// How much of what OpenSSL allows is left: pushes encrypted per second of one
// core, beside the bare operations that RFC 8291 can't do without.
//
// usage: coi-crypto-speed [SECONDS]
//
// Counts CPU time, so that other processes disturb it less. What is compared
// runs in turn, some milliseconds each, and the medians are printed.

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "push/encrypt.h"
#include "push/payload.h"
#include "push/seal.h"
#include "push/vapid.h"

namespace {

using coi::push::Encrypter;
using coi::push::kMaxPayload;
using coi::push::StorageKey;
using coi::push::VapidKey;

constexpr size_t kPointSize = 65;
constexpr double kSliceSeconds = 0.02;

void Check(bool is_ok, const char* what) {
  if (!is_ok) {
    std::fprintf(stderr, "coi-crypto-speed: %s failed\n", what);
    std::exit(1);
  }
}

double CpuSeconds() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

// One P-256 key generation, one ECDH and one AES-128-GCM of the largest
// payload: no import of the receiver's key, no export of ours, no HKDF. What
// can be made once is made once. Never freed: the process ends.
class Baseline {
 public:
  Baseline() : text_(kMaxPayload, 'x'), out_(kMaxPayload + 16, '\0') {
    peer_ = EVP_EC_gen("P-256");
    generator_ = EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr);
    Check(generator_ != nullptr && EVP_PKEY_keygen_init(generator_) == 1 &&
              EVP_PKEY_CTX_set_group_name(generator_, "P-256") == 1,
          "key generation");
    EVP_CIPHER* gcm = EVP_CIPHER_fetch(nullptr, "AES-128-GCM", nullptr);
    cipher_ = EVP_CIPHER_CTX_new();
    Check(EVP_EncryptInit_ex2(cipher_, gcm, nullptr, nullptr, nullptr) == 1, "AES-GCM");
  }

  void Run() {
    EVP_PKEY* own = nullptr;
    Check(EVP_PKEY_generate(generator_, &own) == 1, "key generation");
    EVP_PKEY_CTX* ctx = EVP_PKEY_CTX_new_from_pkey(nullptr, own, nullptr);
    std::array<unsigned char, 32> secret = {};
    size_t secret_size = secret.size();
    Check(EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer_ex(ctx, peer_, 0) == 1 &&
              EVP_PKEY_derive(ctx, secret.data(), &secret_size) == 1,
          "ECDH");
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(own);

    auto* out = reinterpret_cast<unsigned char*>(out_.data());
    int size = 0;
    int last = 0;
    Check(EVP_EncryptInit_ex2(cipher_, nullptr, secret.data(), secret.data() + 16, nullptr) == 1 &&
              EVP_EncryptUpdate(cipher_, out, &size,
                                reinterpret_cast<const unsigned char*>(text_.data()),
                                static_cast<int>(text_.size())) == 1 &&
              EVP_EncryptFinal_ex(cipher_, out + size, &last) == 1 &&
              EVP_CIPHER_CTX_ctrl(cipher_, EVP_CTRL_AEAD_GET_TAG, 16, out + size) == 1,
          "AES-GCM");
  }

 private:
  std::string text_;
  std::string out_;
  EVP_PKEY* peer_ = nullptr;
  EVP_PKEY_CTX* generator_ = nullptr;
  EVP_CIPHER_CTX* cipher_ = nullptr;
};

std::vector<std::string> ReceiverKeys(size_t count) {
  std::vector<std::string> keys;
  for (size_t i = 0; i < count; ++i) {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    std::array<unsigned char, kPointSize> point = {};
    size_t size = 0;
    Check(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point.data(),
                                          point.size(), &size) == 1 &&
              size == point.size(),
          "key generation");
    EVP_PKEY_free(key);
    keys.emplace_back(reinterpret_cast<const char*>(point.data()), point.size());
  }
  return keys;
}

struct Competitor {
  const char* name;
  std::function<void()> run;
  std::vector<double> per_second;
};

void RunSlice(Competitor& competitor) {
  const double begin = CpuSeconds();
  double end = begin;
  long count = 0;
  while (end - begin < kSliceSeconds) {
    for (int i = 0; i < 10; ++i) {
      competitor.run();
    }
    count += 10;
    end = CpuSeconds();
  }
  competitor.per_second.push_back(static_cast<double>(count) / (end - begin));
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

}  // namespace

int main(int argc, char** argv) {
  int seconds = 10;
  if (argc > 2 ||
      (argc == 2 &&
       std::from_chars(argv[1], argv[1] + std::strlen(argv[1]), seconds).ec != std::errc()) ||
      seconds < 1 || seconds > 3600) {
    std::fprintf(stderr, "usage: coi-crypto-speed [SECONDS]\n");
    return 2;
  }

  Baseline baseline;
  Encrypter encrypter;
  const std::vector<std::string> receivers = ReceiverKeys(64);
  const std::string auth(16, 'a');
  const std::string payload(kMaxPayload, 'x');
  std::string body;
  size_t next = 0;
  const std::optional<VapidKey> vapid = VapidKey::Generate();
  const std::optional<StorageKey> storage = StorageKey::Generate();
  Check(vapid && storage, "key generation");

  std::vector<Competitor> competitors;
  competitors.push_back({"bare OpenSSL", [&] { baseline.Run(); }, {}});
  competitors.push_back(
      {"Encrypter::Encrypt",
       [&] {
         Check(encrypter.Encrypt(receivers[next++ % receivers.size()], auth, payload, &body),
               "Encrypt");
       },
       {}});
  competitors.push_back({"VapidKey::Authorization",
                         [&] {
                           Check(!vapid
                                      ->Authorization("https://push.example.net",
                                                      "mailto:push@example.com", 1453523768)
                                      .empty(),
                                 "Authorization");
                         },
                         {}});
  competitors.push_back(
      {"StorageKey::Encrypt",
       [&] { Check(!storage->Encrypt(payload, "context").empty(), "StorageKey::Encrypt"); },
       {}});

  // The first round warms up. Every other one goes the other way round.
  const double end = CpuSeconds() + seconds;
  for (size_t round = 0; round < 2 || CpuSeconds() < end; ++round) {
    for (size_t i = 0; i < competitors.size(); ++i) {
      RunSlice(competitors[round % 2 == 0 ? i : competitors.size() - 1 - i]);
    }
    if (round == 0) {
      for (Competitor& competitor : competitors) {
        competitor.per_second.clear();
      }
    }
  }

  const double bare = Median(competitors.front().per_second);
  std::printf("%-24s %12s %8s\n", "", "per second", "of bare");
  for (const Competitor& competitor : competitors) {
    const double median = Median(competitor.per_second);
    std::printf("%-24s %12.0f %8.2f\n", competitor.name, median, median / bare);
  }
  return 0;
}

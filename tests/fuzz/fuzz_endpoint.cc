// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
// Input: a URL; after its first line feed, the four lists of the policy, a line
// each, in the order of EndpointPolicy::Set().

#include <arpa/inet.h>
#include <netinet/in.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz_util.h"
#include "relay/address.h"
#include "relay/endpoint.h"

namespace coi::fuzz {
namespace {

using relay::Endpoint;
using relay::EndpointPolicy;
using std::string;
using std::string_view;

string_view TakeLine(string_view* text) {
  const string_view line = text->substr(0, text->find('\n'));
  text->remove_prefix(line.size() < text->size() ? line.size() + 1 : line.size());
  return line;
}

// By another way than the code's: with inet_pton() where the host stands.
void CheckAddress(const EndpointPolicy& policy, const string& host) {
  struct sockaddr_in in = {};
  struct sockaddr_in6 in6 = {};
  in.sin_family = AF_INET;
  in6.sin6_family = AF_INET6;
  if (inet_pton(AF_INET, host.c_str(), &in.sin_addr) == 1) {
    FUZZ_CHECK(policy.AllowsAddress(reinterpret_cast<const struct sockaddr*>(&in)));
  } else if (inet_pton(AF_INET6, host.c_str(), &in6.sin6_addr) == 1) {
    FUZZ_CHECK(policy.AllowsAddress(reinterpret_cast<const struct sockaddr*>(&in6)));
  } else {
    // Nothing that getaddrinfo() takes for an address.
    struct in_addr any = {};
    FUZZ_CHECK(inet_aton(host.c_str(), &any) == 0);
    FUZZ_CHECK(host.find(':') == string::npos);
  }
}

void CheckEndpoint(const EndpointPolicy& policy, const Endpoint& endpoint) {
  const string& url = endpoint.url;
  const string& origin = endpoint.origin;
  const bool is_https = origin.starts_with("https://");
  FUZZ_CHECK(is_https || origin.starts_with("http://"));
  FUZZ_CHECK(url.starts_with(origin + "/"));
  for (const char c : url) {
    FUZZ_CHECK(c > ' ' && c < 0x7f && c != '#' && c != '\\');
  }

  FUZZ_CHECK(!endpoint.host.empty());
  for (const char c : endpoint.host) {
    FUZZ_CHECK((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
               c == '.' || c == ':');
  }
  FUZZ_CHECK(endpoint.port >= 1 && endpoint.port <= 65535);
  string wanted = is_https ? "https://" : "http://";
  wanted += endpoint.host.find(':') == string::npos ? endpoint.host : "[" + endpoint.host + "]";
  if (endpoint.port != (is_https ? 443 : 80)) {
    wanted += ":" + std::to_string(endpoint.port);
  }
  FUZZ_CHECK(origin == wanted);
  CheckAddress(policy, endpoint.host);

  // What is connected to is what was checked.
  if (url.size() <= 1000) {
    const auto again = policy.Check(url);
    FUZZ_CHECK(again && again->url == url && again->origin == origin &&
               again->host == endpoint.host && again->port == endpoint.port);
  }
}

}  // namespace
}  // namespace coi::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view url = coi::fuzz::TakeLine(&input);
  std::array<std::string_view, 4> lists;
  for (auto& list : lists) {
    list = coi::fuzz::TakeLine(&input);
  }

  static const coi::relay::EndpointPolicy kStrict;
  const auto strict = kStrict.Check(url);
  if (strict) {
    FUZZ_CHECK(strict->origin.starts_with("https://"));
    coi::fuzz::CheckEndpoint(kStrict, *strict);
  }

  coi::relay::EndpointPolicy policy;
  std::string error;
  const bool is_set = policy.Set(lists[0], lists[1], lists[2], lists[3], &error);
  FUZZ_CHECK(is_set == error.empty());
  if (const auto endpoint = policy.Check(url)) {
    coi::fuzz::CheckEndpoint(policy, *endpoint);
    // Lists take away, and networks and http add.
    FUZZ_CHECK(strict || !lists[2].empty() || !lists[3].empty());
  }
  return 0;
}

// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/endpoint.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "push/subscription.h"
#include "util/ascii.h"

namespace coi::relay {
namespace {

using std::optional;
using std::string;
using std::string_view;

constexpr string_view kScheme = "https";
constexpr string_view kHttp = "http";
constexpr size_t kNameMaxSize = 253;  // RFC 1035, as text
constexpr size_t kLabelMaxSize = 63;
constexpr unsigned int kMaxPort = 65535;

struct FreeUrl {
  void operator()(CURLU* url) const noexcept {
    curl_url_cleanup(url);
  }
};

// Nullopt where there is no such part.
optional<string> Part(CURLU* url, CURLUPart what, unsigned int flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, what, &text, flags) != CURLUE_OK || text == nullptr) {
    return std::nullopt;
  }
  string part = text;
  curl_free(text);
  return part;
}

string Lower(string_view text) {
  string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), util::AsciiLower);
  return lower;
}

// Printable ASCII without what RFC 3986 does not have, and which others read
// as something else, such as the backslash.
bool IsUrlChar(char c) noexcept {
  return c > ' ' && c < 0x7f && string_view("\"<>\\^`{|}").find(c) == string_view::npos;
}

optional<unsigned int> ParsePort(string_view text) noexcept {
  if (text.empty() || text.size() > 5 || !std::all_of(text.begin(), text.end(), util::IsDigit)) {
    return std::nullopt;
  }
  unsigned int port = 0;
  for (const char c : text) {
    port = port * 10 + static_cast<unsigned int>(c - '0');
  }
  return port >= 1 && port <= kMaxPort ? optional(port) : std::nullopt;
}

// Takes what stands before the first of `ends` off the front of *text.
string_view TakeUntil(string_view ends, string_view* text) noexcept {
  const string_view taken = text->substr(0, text->find_first_of(ends));
  text->remove_prefix(taken.size());
  return taken;
}

// A domain name in lower case, and none that somebody could take for an IPv4
// address (its last label would be a number).
bool IsName(string_view name) noexcept {
  if (name.size() > kNameMaxSize) {
    return false;
  }
  string_view label;
  do {
    label = TakeUntil(".", &name);
    if (label.empty() || label.size() > kLabelMaxSize ||
        !std::all_of(label.begin(), label.end(), [](char c) {
          return util::IsDigit(c) || (c >= 'a' && c <= 'z') || c == '-' || c == '_';
        })) {
      return false;
    }
    if (!name.empty()) {
      name.remove_prefix(1);
      if (name.empty()) {
        return false;
      }
    }
  } while (!name.empty());
  return !std::all_of(label.begin(), label.end(), util::IsDigit) && !label.starts_with("0x");
}

// An address, and its usual form.
struct Literal {
  union {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
  };
  string text;
};

optional<Literal> ParseLiteral(const string& host) {
  Literal literal = {.in6 = {}, .text = {}};
  char text[INET6_ADDRSTRLEN] = "";
  if (inet_pton(AF_INET, host.c_str(), &literal.in.sin_addr) == 1) {
    literal.in.sin_family = AF_INET;
    inet_ntop(AF_INET, &literal.in.sin_addr, text, sizeof(text));
  } else if (inet_pton(AF_INET6, host.c_str(), &literal.in6.sin6_addr) == 1) {
    literal.in6.sin6_family = AF_INET6;
    inet_ntop(AF_INET6, &literal.in6.sin6_addr, text, sizeof(text));
  } else {
    return std::nullopt;
  }
  literal.text = text;
  return literal;
}

string_view WithoutBrackets(string_view host) noexcept {
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host.remove_prefix(1);
    host.remove_suffix(1);
  }
  return host;
}

bool HasColon(string_view text) noexcept {
  return text.find(':') != string_view::npos;
}

string InUrl(const string& host) {
  return HasColon(host) ? "[" + host + "]" : host;
}

// A host of a list, as Endpoint has it.
optional<string> ParseHost(string_view word) {
  string host = Lower(WithoutBrackets(word));
  if (host.find('\0') != string::npos) {
    return std::nullopt;
  }
  if (auto literal = ParseLiteral(host)) {
    return std::move(literal->text);
  }
  return IsName(host) ? optional(std::move(host)) : std::nullopt;
}

// "push.example.org" or "*.example.org"
optional<string> ParsePattern(string_view word) {
  if (!word.starts_with("*.")) {
    return ParseHost(word);
  }
  string name = Lower(word.substr(2));
  return IsName(name) ? optional("*." + name) : std::nullopt;
}

// "host" or "host:port"
optional<string> ParseHostPort(string_view word) {
  if (auto host = ParseHost(word)) {
    return InUrl(*host);
  }
  const size_t colon = word.rfind(':');
  if (colon == string_view::npos) {
    return std::nullopt;
  }
  const string_view before = word.substr(0, colon);
  const auto host = ParseHost(before);
  const auto port = ParsePort(word.substr(colon + 1));
  if (!host || !port || (HasColon(*host) && before.front() != '[')) {
    return std::nullopt;
  }
  return InUrl(*host) + ":" + std::to_string(*port);
}

// False, and the word, where one isn't right.
template <typename Parse>
bool ParseList(string_view text, Parse parse, std::vector<string>* list, string* bad_word) {
  for (string_view word = util::TakeWord(&text); !word.empty(); word = util::TakeWord(&text)) {
    auto entry = parse(word);
    if (!entry) {
      *bad_word = word;
      return false;
    }
    list->push_back(*std::move(entry));
  }
  return true;
}

bool MatchesPattern(string_view host, string_view pattern) noexcept {
  if (!pattern.starts_with("*.")) {
    return host == pattern;
  }
  pattern.remove_prefix(1);
  return host.size() > pattern.size() && host.ends_with(pattern);
}

bool MatchesAny(const std::vector<string>& patterns, string_view host) noexcept {
  return std::any_of(patterns.begin(), patterns.end(),
                     [host](const string& pattern) { return MatchesPattern(host, pattern); });
}

// RFC 6761, 6.3: always this machine.
bool IsLocalhost(string_view name) noexcept {
  return name == "localhost" || name.ends_with(".localhost");
}

// What libcurl is kinder to than RFC 3986, or decodes before it looks at it:
// one or three slashes, an empty user, %-encoded hosts, IPv6 zones.
bool LooksLikeUrl(string_view url) noexcept {
  if (url.size() > push::kEndpointMaxSize || !std::all_of(url.begin(), url.end(), IsUrlChar) ||
      url.find('#') != string_view::npos) {
    return false;
  }
  TakeUntil(":", &url);
  if (!url.starts_with("://")) {
    return false;
  }
  url.remove_prefix(3);
  const string_view authority = TakeUntil("/?", &url);
  return !authority.empty() && authority.find_first_of("@%") == string_view::npos;
}

}  // namespace

bool EndpointPolicy::Set(string_view hosts_allowed, string_view hosts_denied,
                         string_view hosts_http, string_view networks_allowed, string* error) {
  EndpointPolicy policy;
  string bad_word;
  if (!ParseList(hosts_allowed, ParsePattern, &policy.hosts_allowed_, &bad_word)) {
    *error = "coi_push_hosts: not a host or *.domain: " + bad_word;
    return false;
  }
  if (!ParseList(hosts_denied, ParsePattern, &policy.hosts_denied_, &bad_word)) {
    *error = "coi_push_hosts_denied: not a host or *.domain: " + bad_word;
    return false;
  }
  if (!ParseList(hosts_http, ParseHostPort, &policy.hosts_http_, &bad_word)) {
    *error = "coi_push_hosts_http: not a host or host:port: " + bad_word;
    return false;
  }
  if (!policy.networks_.Parse(networks_allowed, &bad_word)) {
    *error = "coi_push_networks: not a network: " + bad_word;
    return false;
  }
  *this = std::move(policy);
  return true;
}

optional<Endpoint> EndpointPolicy::Check(string_view url) const {
  if (!LooksLikeUrl(url)) {
    return std::nullopt;
  }
  const std::unique_ptr<CURLU, FreeUrl> parsed(curl_url());
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, string(url).c_str(),
                              CURLU_DISALLOW_USER) != CURLUE_OK) {
    return std::nullopt;
  }
  const auto scheme = Part(parsed.get(), CURLUPART_SCHEME);
  const auto raw_host = Part(parsed.get(), CURLUPART_HOST);
  const auto port_text = Part(parsed.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
  if (!scheme || (*scheme != kScheme && *scheme != kHttp) || !raw_host || !port_text) {
    return std::nullopt;
  }
  const auto port = ParsePort(*port_text);
  if (!port) {
    return std::nullopt;
  }

  Endpoint endpoint;
  endpoint.port = *port;
  endpoint.host = Lower(WithoutBrackets(*raw_host));
  if (const auto literal = ParseLiteral(endpoint.host)) {
    if (!AllowsAddress(&literal->any)) {
      return std::nullopt;
    }
    endpoint.host = literal->text;
  } else if (!IsName(endpoint.host)) {
    return std::nullopt;
  } else if (IsLocalhost(endpoint.host)) {
    // Allowed is not what one of its addresses is, but a network.
    const auto ipv4 = ParseLiteral("127.0.0.1");
    const auto ipv6 = ParseLiteral("::1");
    if (!AllowsAddress(&ipv4->any) && !AllowsAddress(&ipv6->any)) {
      return std::nullopt;
    }
  }

  if (MatchesAny(hosts_denied_, endpoint.host) ||
      (!hosts_allowed_.empty() && !MatchesAny(hosts_allowed_, endpoint.host))) {
    return std::nullopt;
  }
  const string host = InUrl(endpoint.host);
  if (*scheme == kHttp &&
      std::none_of(hosts_http_.begin(), hosts_http_.end(), [&](const string& entry) {
        return entry == host || entry == host + ":" + std::to_string(*port);
      })) {
    return std::nullopt;
  }

  const bool is_default_port = *port == (*scheme == kScheme ? 443U : 80U);
  endpoint.origin = *scheme + "://" + host;
  if (!is_default_port) {
    endpoint.origin += ":" + std::to_string(*port);
  }
  // One origin has one form, so that connections are found again.
  const auto path = Part(parsed.get(), CURLUPART_PATH);
  const auto query = Part(parsed.get(), CURLUPART_QUERY);
  endpoint.url = endpoint.origin + path.value_or("/");
  if (query) {
    endpoint.url += "?" + *query;
  }
  return endpoint;
}

bool EndpointPolicy::AllowsAddress(const struct sockaddr* address) const noexcept {
  return IsPublic(address) || networks_.Contains(address);
}

}  // namespace coi::relay

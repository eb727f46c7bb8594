// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

#include "util/ascii.h"

namespace coi::relay {
namespace {

using std::string;
using std::string_view;

constexpr unsigned int kIpv4Bits = 32;
constexpr unsigned int kIpv6Bits = 128;
constexpr unsigned int kMappedBits = 96;

// In network byte order; IPv4 is in the first four.
struct Address {
  int family = AF_UNSPEC;
  unsigned char bytes[16] = {};
};

uint32_t Ipv4At(const unsigned char* bytes) noexcept {
  uint32_t value = 0;
  std::memcpy(&value, bytes, sizeof(value));
  return ntohl(value);
}

uint64_t Upper64(const unsigned char* bytes) noexcept {
  return static_cast<uint64_t>(Ipv4At(bytes)) << 32 | Ipv4At(bytes + 4);
}

// ::ffff:0:0/96: the system connects to the IPv4 address.
bool IsMapped(const Address& address) noexcept {
  constexpr std::array<unsigned char, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return address.family == AF_INET6 &&
         std::equal(kMapped.begin(), kMapped.end(), std::begin(address.bytes));
}

void Unmap(Address* address) noexcept {
  if (IsMapped(*address)) {
    std::copy_n(address->bytes + 12, 4, address->bytes);
    std::fill(std::begin(address->bytes) + 4, std::end(address->bytes), 0);
    address->family = AF_INET;
  }
}

std::optional<Address> AddressOf(const struct sockaddr* from) noexcept {
  Address address;
  address.family = from->sa_family;
  // Copied, for it may be less aligned than its type asks for.
  if (from->sa_family == AF_INET) {
    struct sockaddr_in in = {};
    std::memcpy(&in, from, sizeof(in));
    std::memcpy(address.bytes, &in.sin_addr, sizeof(in.sin_addr));
  } else if (from->sa_family == AF_INET6) {
    struct sockaddr_in6 in6 = {};
    std::memcpy(&in6, from, sizeof(in6));
    std::memcpy(address.bytes, &in6.sin6_addr, sizeof(in6.sin6_addr));
    Unmap(&address);
  } else {
    return std::nullopt;
  }
  return address;
}

bool HasPrefix(const unsigned char* bytes, const unsigned char* prefix,
               unsigned int bits) noexcept {
  const size_t whole = bits / 8;
  if (std::memcmp(bytes, prefix, whole) != 0) {
    return false;
  }
  const unsigned int rest = bits % 8;
  return rest == 0 || (bytes[whole] ^ prefix[whole]) >> (8 - rest) == 0;
}

constexpr uint32_t Ipv4(uint32_t a, uint32_t b, uint32_t c, uint32_t d) noexcept {
  return a << 24 | b << 16 | c << 8 | d;
}

// IANA's IPv4 special-purpose address registry, multicast, and what is reserved.
// The few that are reachable from everywhere (AS112, AMT, PCP and TURN anycast)
// are here, too: no push service is there.
struct Ipv4Block {
  uint32_t prefix;
  unsigned int bits;
};
constexpr Ipv4Block kSpecialIpv4[] = {
    {Ipv4(0, 0, 0, 0), 8},        // this network
    {Ipv4(10, 0, 0, 0), 8},       // private
    {Ipv4(100, 64, 0, 0), 10},    // shared, of carrier-grade NAT
    {Ipv4(127, 0, 0, 0), 8},      // loopback
    {Ipv4(169, 254, 0, 0), 16},   // link-local
    {Ipv4(172, 16, 0, 0), 12},    // private
    {Ipv4(192, 0, 0, 0), 24},     // IETF protocol assignments
    {Ipv4(192, 0, 2, 0), 24},     // documentation
    {Ipv4(192, 31, 196, 0), 24},  // AS112
    {Ipv4(192, 52, 193, 0), 24},  // AMT
    {Ipv4(192, 88, 99, 0), 24},   // 6to4 relay anycast
    {Ipv4(192, 168, 0, 0), 16},   // private
    {Ipv4(192, 175, 48, 0), 24},  // AS112
    {Ipv4(198, 18, 0, 0), 15},    // benchmarking
    {Ipv4(198, 51, 100, 0), 24},  // documentation
    {Ipv4(203, 0, 113, 0), 24},   // documentation
    {Ipv4(224, 0, 0, 0), 3},      // multicast, reserved, broadcast
};

bool IsPublicIpv4(uint32_t address) noexcept {
  return std::none_of(std::begin(kSpecialIpv4), std::end(kSpecialIpv4),
                      [&](const Ipv4Block& block) {
                        return (address ^ block.prefix) >> (kIpv4Bits - block.bits) == 0;
                      });
}

// What of 2000::/3, the only block that global unicast addresses are assigned
// from, is in IANA's IPv6 special-purpose address registry: the prefix's first
// 64 bits. 6to4 is judged by the IPv4 address in it.
struct Ipv6Block {
  uint64_t prefix;
  unsigned int bits;
};
constexpr Ipv6Block kGlobalUnicast = {0x2000'0000'0000'0000, 3};
constexpr Ipv6Block k6to4 = {0x2002'0000'0000'0000, 16};
constexpr Ipv6Block kSpecialIpv6[] = {
    {0x2001'0000'0000'0000, 23},  // IETF protocol assignments, Teredo among them
    {0x2001'0db8'0000'0000, 32},  // documentation
    {0x2620'004f'8000'0000, 48},  // AS112
    {0x3fff'0000'0000'0000, 20},  // documentation
};

bool IsIn(uint64_t upper, const Ipv6Block& block) noexcept {
  return (upper ^ block.prefix) >> (64 - block.bits) == 0;
}

bool IsPublicIpv6(const unsigned char* bytes) noexcept {
  // 64:ff9b::/96, NAT64 (RFC 6052)
  constexpr std::array<unsigned char, 12> kNat64 = {0, 0x64, 0xff, 0x9b};
  if (std::equal(kNat64.begin(), kNat64.end(), bytes)) {
    return IsPublicIpv4(Ipv4At(bytes + 12));
  }
  const uint64_t upper = Upper64(bytes);
  if (IsIn(upper, k6to4)) {
    return IsPublicIpv4(Ipv4At(bytes + 2));
  }
  return IsIn(upper, kGlobalUnicast) &&
         std::none_of(std::begin(kSpecialIpv6), std::end(kSpecialIpv6),
                      [&](const Ipv6Block& block) { return IsIn(upper, block); });
}

// Decimal, at most `max`, and written as it is usual.
std::optional<unsigned int> ParseBits(string_view text, unsigned int max) {
  if (text.empty() || text.size() > 3 || (text.size() > 1 && text[0] == '0')) {
    return std::nullopt;
  }
  unsigned int value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') {
      return std::nullopt;
    }
    value = value * 10 + static_cast<unsigned int>(c - '0');
  }
  return value <= max ? std::optional(value) : std::nullopt;
}

}  // namespace

bool NetworkList::Parse(string_view text, string* bad_word) {
  std::vector<Network> networks;
  for (string_view word = util::TakeWord(&text); !word.empty(); word = util::TakeWord(&text)) {
    const size_t slash = word.find('/');
    const string host(word.substr(0, slash));
    Address address;
    address.family = host.find(':') == string::npos ? AF_INET : AF_INET6;
    const unsigned int max = address.family == AF_INET ? kIpv4Bits : kIpv6Bits;
    const auto bits =
        slash == string_view::npos ? std::optional(max) : ParseBits(word.substr(slash + 1), max);
    // A NUL would end what inet_pton() reads, and the rest be ignored.
    if (!bits || host.find('\0') != string::npos ||
        inet_pton(address.family, host.c_str(), address.bytes) != 1) {
      *bad_word = word;
      return false;
    }

    Network network = {.family = address.family, .bytes = {}, .bits = *bits};
    if (IsMapped(address) && *bits >= kMappedBits) {
      Unmap(&address);
      network.family = AF_INET;
      network.bits -= kMappedBits;
    }
    std::copy(std::begin(address.bytes), std::end(address.bytes), std::begin(network.bytes));
    networks.push_back(network);
  }
  networks_ = std::move(networks);
  return true;
}

bool NetworkList::Contains(const struct sockaddr* address) const noexcept {
  const auto wanted = AddressOf(address);
  return wanted && std::any_of(networks_.begin(), networks_.end(), [&](const Network& network) {
           return network.family == wanted->family &&
                  HasPrefix(wanted->bytes, network.bytes, network.bits);
         });
}

bool IsPublic(const struct sockaddr* address) noexcept {
  const auto unpacked = AddressOf(address);
  if (!unpacked) {
    return false;
  }
  return unpacked->family == AF_INET ? IsPublicIpv4(Ipv4At(unpacked->bytes))
                                     : IsPublicIpv6(unpacked->bytes);
}

}  // namespace coi::relay

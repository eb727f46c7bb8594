// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_RELAY_ADDRESS_H
#define COI_RELAY_ADDRESS_H

#include <sys/socket.h>

#include <string>
#include <string_view>
#include <vector>

// Which addresses may be connected to: PROTOCOL END-2.
namespace coi::relay {

// Networks that the admin allows although they are not public.
class NetworkList {
 public:
  // CIDR or single addresses, separated by blanks. False, and the word that
  // isn't one, where there is one.
  bool Parse(std::string_view text, std::string* bad_word);
  bool Contains(const struct sockaddr* address) const noexcept;

 private:
  struct Network {
    int family;
    unsigned char bytes[16];
    unsigned int bits;
  };
  std::vector<Network> networks_;
};

// True for global unicast addresses only: not for any special-purpose one of
// the IANA registries (RFC 6890), nor for IPv6 forms that hold an IPv4 address
// which is not public (mapped, compatible, NAT64, 6to4, Teredo).
bool IsPublic(const struct sockaddr* address) noexcept;

}  // namespace coi::relay

#endif  // COI_RELAY_ADDRESS_H

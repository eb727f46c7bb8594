// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/address.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstring>
#include <string>
#include <string_view>

#include "test_util.h"

namespace coi::relay {
namespace {

using std::string;
using std::string_view;
using namespace std::string_literals;

struct sockaddr_storage Sockaddr(const string& text) {
  struct sockaddr_storage storage = {};
  auto* in = reinterpret_cast<struct sockaddr_in*>(&storage);
  auto* in6 = reinterpret_cast<struct sockaddr_in6*>(&storage);
  if (inet_pton(AF_INET, text.c_str(), &in->sin_addr) == 1) {
    in->sin_family = AF_INET;
  } else {
    EXPECT_EQ(inet_pton(AF_INET6, text.c_str(), &in6->sin6_addr), 1) << text;
    in6->sin6_family = AF_INET6;
  }
  return storage;
}

bool IsPublicText(const string& text) {
  const auto storage = Sockaddr(text);
  return IsPublic(reinterpret_cast<const struct sockaddr*>(&storage));
}

bool ListContains(const NetworkList& list, const string& text) {
  const auto storage = Sockaddr(text);
  return list.Contains(reinterpret_cast<const struct sockaddr*>(&storage));
}

struct BlockCase {
  const char* name;
  const char* first;
  const char* last;
  // Just outside, and public; "" where that is another special block.
  const char* before = "";
  const char* after = "";
};

class SpecialBlock : public testing::TestWithParam<BlockCase> {};

TEST_P(SpecialBlock, END_2_is_not_public) {
  EXPECT_FALSE(IsPublicText(GetParam().first));
  EXPECT_FALSE(IsPublicText(GetParam().last));
  for (const string outside : {GetParam().before, GetParam().after}) {
    EXPECT_TRUE(outside.empty() || IsPublicText(outside)) << outside;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Ipv4, SpecialBlock,
    testing::Values(
        BlockCase{"this_network", "0.0.0.0", "0.255.255.255", "", "1.0.0.0"},
        BlockCase{"private_10", "10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"},
        BlockCase{"shared", "100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"},
        BlockCase{"loopback", "127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"},
        BlockCase{"link_local", "169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"},
        BlockCase{"private_172", "172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"},
        BlockCase{"protocols", "192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"},
        BlockCase{"test_net_1", "192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"},
        BlockCase{"as112", "192.31.196.0", "192.31.196.255", "192.31.195.255", "192.31.197.0"},
        BlockCase{"amt", "192.52.193.0", "192.52.193.255", "192.52.192.255", "192.52.194.0"},
        BlockCase{"relay_6to4", "192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"},
        BlockCase{"private_192", "192.168.0.0", "192.168.255.255", "192.167.255.255",
                  "192.169.0.0"},
        BlockCase{"direct_as112", "192.175.48.0", "192.175.48.255", "192.175.47.255",
                  "192.175.49.0"},
        BlockCase{"benchmark", "198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"},
        BlockCase{"test_net_2", "198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"},
        BlockCase{"test_net_3", "203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"},
        BlockCase{"multicast", "224.0.0.0", "239.255.255.255", "223.255.255.255"},
        BlockCase{"reserved", "240.0.0.0", "255.255.255.254"},
        BlockCase{"broadcast", "255.255.255.255", "255.255.255.255"}),
    test::CaseName);

INSTANTIATE_TEST_SUITE_P(
    Ipv6, SpecialBlock,
    testing::Values(
        BlockCase{"unspecified", "::", "::"}, BlockCase{"loopback", "::1", "::1"},
        BlockCase{"compatible", "::2", "::ffff:ffff"},
        BlockCase{"compatible_public", "::8.8.8.8", "::8.8.4.4"},
        BlockCase{"below_mapped", "::fffe:808:808", "::fffe:ffff:ffff"},
        BlockCase{"above_mapped", "::1:0:808:808", "::1:0:808:809"},
        BlockCase{"translated", "::ffff:0:808:808", "::ffff:0:0:0"},
        BlockCase{"nat64_local", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"},
        BlockCase{"beside_nat64", "64:ff9b::1:808:808", "64:ff9a:ffff:ffff:ffff:ffff:808:808"},
        BlockCase{"discard", "100::", "100::ffff:ffff:ffff:ffff"},
        BlockCase{"before_unicast", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                  "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "2000::"},
        BlockCase{"protocols", "2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
                  "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"},
        BlockCase{"teredo", "2001:0:0808:0808::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"},
        BlockCase{"documentation", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
                  "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"},
        BlockCase{"as112", "2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
                  "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", "2620:4f:8001::"},
        BlockCase{"documentation_20", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
                  "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::"},
        BlockCase{"after_unicast", "4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                  "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
        BlockCase{"unique_local", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
        BlockCase{"link_local", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
        BlockCase{"site_local", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
        BlockCase{"multicast", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
        BlockCase{"ula_in_6to4", "2002:7f00:1::", "2002:a00:1::1"}),
    test::CaseName);

// Addresses that hold the IPv4 address that is really meant.
TEST(Address, END_2_judges_the_ipv4_address_in_an_ipv6_one) {
  for (const char* prefix : {"::ffff:", "64:ff9b::"}) {
    for (const char* special :
         {"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254",
          "172.16.0.1", "192.168.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255"}) {
      EXPECT_FALSE(IsPublicText(string(prefix) + special)) << prefix << special;
    }
    for (const char* common : {"8.8.8.8", "1.0.0.0", "172.15.255.255", "223.255.255.255"}) {
      EXPECT_TRUE(IsPublicText(string(prefix) + common)) << prefix << common;
    }
  }
  EXPECT_FALSE(IsPublicText("2002:7f00:0001::1"));
  EXPECT_FALSE(IsPublicText("2002:c0a8:0001::1"));
  EXPECT_FALSE(IsPublicText("2002:a9fe:a9fe::1"));
  EXPECT_TRUE(IsPublicText("2002:0808:0808::1"));
}

TEST(Address, END_2_allows_public_addresses) {
  for (const char* text :
       {"1.1.1.1", "8.8.8.8", "93.184.216.34", "100.0.0.1", "172.217.16.14", "192.1.0.1",
        "2001:4860:4860::8888", "2606:4700::1111", "2a00:1450:4001:80b::200e", "2c0f:fb50::1"}) {
    EXPECT_TRUE(IsPublicText(text)) << text;
  }
}

TEST(Address, END_2_knows_no_other_families) {
  struct sockaddr_un un = {};
  un.sun_family = AF_UNIX;
  const auto* address = reinterpret_cast<const struct sockaddr*>(&un);
  NetworkList all;
  string bad_word;
  ASSERT_TRUE(all.Parse("0.0.0.0/0 ::/0", &bad_word));
  EXPECT_FALSE(IsPublic(address));
  EXPECT_FALSE(all.Contains(address));
  un.sun_family = AF_UNSPEC;
  EXPECT_FALSE(IsPublic(address));
  EXPECT_FALSE(all.Contains(address));
}

TEST(NetworkList, END_2_holds_what_was_named) {
  NetworkList list;
  string bad_word;
  EXPECT_FALSE(ListContains(list, "127.0.0.1"));
  ASSERT_TRUE(list.Parse(" 127.0.0.0/8\t10.1.2.3\n192.168.16.0/20 fd00:1::/33 ::1 ", &bad_word));

  struct Case {
    const char* address;
    bool contained;
  };
  for (const auto& c : {Case{"127.0.0.0", true},
                        {"127.255.255.255", true},
                        {"128.0.0.0", false},
                        {"126.255.255.255", false},
                        {"::ffff:127.0.0.1", true},
                        {"::ffff:128.0.0.1", false},
                        {"64:ff9b::127.0.0.1", false},
                        {"::127.0.0.1", false},
                        {"2002:7f00:1::", false},
                        {"10.1.2.3", true},
                        {"10.1.2.2", false},
                        {"192.168.15.255", false},
                        {"192.168.16.0", true},
                        {"192.168.31.255", true},
                        {"192.168.32.0", false},
                        {"fd00:1::", true},
                        {"fd00:1:7fff:ffff::", true},
                        {"fd00:1:8000::", false},
                        {"fd00:0:7fff::", false},
                        {"::1", true},
                        {"::2", false}}) {
    EXPECT_EQ(ListContains(list, c.address), c.contained) << c.address;
  }
}

TEST(NetworkList, END_2_takes_a_mapped_network_for_the_ipv4_one) {
  NetworkList list;
  string bad_word;
  ASSERT_TRUE(list.Parse("::ffff:10.0.0.0/104 ::ffff:192.168.1.1", &bad_word));
  EXPECT_TRUE(ListContains(list, "10.255.0.1"));
  EXPECT_TRUE(ListContains(list, "::ffff:10.255.0.1"));
  EXPECT_TRUE(ListContains(list, "192.168.1.1"));
  EXPECT_FALSE(ListContains(list, "11.0.0.1"));
  EXPECT_FALSE(ListContains(list, "192.168.1.2"));
}

TEST(NetworkList, END_2_keeps_ipv4_and_ipv6_apart) {
  NetworkList list;
  string bad_word;
  ASSERT_TRUE(list.Parse("::/0", &bad_word));
  EXPECT_TRUE(ListContains(list, "::1"));
  EXPECT_FALSE(ListContains(list, "0.0.0.1"));
  EXPECT_FALSE(ListContains(list, "::ffff:127.0.0.1"));
  ASSERT_TRUE(list.Parse("0.0.0.0/0", &bad_word));
  EXPECT_FALSE(ListContains(list, "::1"));
  EXPECT_TRUE(ListContains(list, "127.0.0.1"));
  EXPECT_TRUE(ListContains(list, "255.255.255.255"));
}

TEST(NetworkList, END_2_says_which_word_is_wrong) {
  for (const auto& word :
       {"localhost"s,     "127.0.0"s,      "127.1"s,        "127.0.0.1/"s,
        "127.0.0.1/33"s,  "127.0.0.1/-1"s, "127.0.0.1/+8"s, "127.0.0.1/08"s,
        "127.0.0.1/8/8"s, "127.0.0.1/a"s,  "::/129"s,       "::1%lo"s,
        "[::1]"s,         "/8"s,           "::/0000"s,      "127.0.0.1,10.0.0.1"s,
        "256.0.0.0/8"s,   "0x7f.0.0.1"s,   "127.0.0.1\0x"s, "127.0.0.1/4294967304"s}) {
    NetworkList list;
    string bad_word;
    ASSERT_TRUE(list.Parse("10.0.0.0/8", &bad_word));
    EXPECT_FALSE(list.Parse("127.0.0.0/8 " + word + " ::1", &bad_word)) << word;
    EXPECT_EQ(bad_word, word);
    // What was there stays.
    EXPECT_TRUE(ListContains(list, "10.0.0.1")) << word;
    EXPECT_FALSE(ListContains(list, "127.0.0.1")) << word;
  }
}

TEST(NetworkList, END_2_ignores_bits_beyond_the_prefix) {
  NetworkList list;
  string bad_word;
  ASSERT_TRUE(list.Parse("192.168.1.77/24", &bad_word));
  EXPECT_TRUE(ListContains(list, "192.168.1.1"));
  EXPECT_FALSE(ListContains(list, "192.168.2.77"));
}

}  // namespace
}  // namespace coi::relay

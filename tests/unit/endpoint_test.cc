// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/endpoint.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "test_util.h"

namespace coi::relay {
namespace {

using std::string;
using std::string_view;
using namespace std::string_literals;

EndpointPolicy Policy(string_view allowed = "", string_view denied = "", string_view http = "",
                      string_view networks = "") {
  EndpointPolicy policy;
  string error;
  EXPECT_TRUE(policy.Set(allowed, denied, http, networks, &error)) << error;
  return policy;
}

struct GoodCase {
  const char* url;
  const char* normal;
  const char* origin;
  const char* host;
  unsigned int port;
};

TEST(Endpoint, END_1_normalises_what_is_allowed) {
  for (const auto& c : {
           GoodCase{"https://push.example.org/abc", "https://push.example.org/abc",
                    "https://push.example.org", "push.example.org", 443},
           {"https://push.example.org", "https://push.example.org/", "https://push.example.org",
            "push.example.org", 443},
           {"HTTPS://Push.Example.ORG/AbC?X=y", "https://push.example.org/AbC?X=y",
            "https://push.example.org", "push.example.org", 443},
           {"https://push.example.org?token=1", "https://push.example.org/?token=1",
            "https://push.example.org", "push.example.org", 443},
           {"https://push.example.org:443/a", "https://push.example.org/a",
            "https://push.example.org", "push.example.org", 443},
           {"https://push.example.org:/a", "https://push.example.org/a", "https://push.example.org",
            "push.example.org", 443},
           {"https://push.example.org:8443/a", "https://push.example.org:8443/a",
            "https://push.example.org:8443", "push.example.org", 8443},
           {"https://push.example.org:80/a", "https://push.example.org:80/a",
            "https://push.example.org:80", "push.example.org", 80},
           {"https://push.example.org:65535/", "https://push.example.org:65535/",
            "https://push.example.org:65535", "push.example.org", 65535},
           {"https://push.example.org:1/", "https://push.example.org:1/",
            "https://push.example.org:1", "push.example.org", 1},
           {"https://push.example.org:0443/a", "https://push.example.org/a",
            "https://push.example.org", "push.example.org", 443},
           {"https://a.example/x/../y/./z", "https://a.example/y/z", "https://a.example",
            "a.example", 443},
           {"https://a.example/@b:c%00%0d%0a", "https://a.example/@b:c%00%0d%0a",
            "https://a.example", "a.example", 443},
           {"https://a.example/?@b", "https://a.example/?@b", "https://a.example", "a.example",
            443},
           {"https://xn--mller-kva.example/", "https://xn--mller-kva.example/",
            "https://xn--mller-kva.example", "xn--mller-kva.example", 443},
           {"https://intranet/", "https://intranet/", "https://intranet", "intranet", 443},
           {"https://0xyz.example/", "https://0xyz.example/", "https://0xyz.example",
            "0xyz.example", 443},
           {"https://a_b.example/", "https://a_b.example/", "https://a_b.example", "a_b.example",
            443},
           {"https://8.8.8.8/", "https://8.8.8.8/", "https://8.8.8.8", "8.8.8.8", 443},
           {"https://134744072/", "https://8.8.8.8/", "https://8.8.8.8", "8.8.8.8", 443},
           {"https://0x8.8.010.010:444/", "https://8.8.8.8:444/", "https://8.8.8.8:444", "8.8.8.8",
            444},
           {"https://[2606:4700:0:0:0:0:0:1111]/", "https://[2606:4700::1111]/",
            "https://[2606:4700::1111]", "2606:4700::1111", 443},
           {"https://[2606:4700::AbC]:8443/", "https://[2606:4700::abc]:8443/",
            "https://[2606:4700::abc]:8443", "2606:4700::abc", 8443},
           {"https://updates.push.services.mozilla.com/wpush/v2/gAAAA_-b=",
            "https://updates.push.services.mozilla.com/wpush/v2/gAAAA_-b=",
            "https://updates.push.services.mozilla.com", "updates.push.services.mozilla.com", 443},
           {"https://fcm.googleapis.com/fcm/send/abc:APA91b-_x",
            "https://fcm.googleapis.com/fcm/send/abc:APA91b-_x", "https://fcm.googleapis.com",
            "fcm.googleapis.com", 443},
       }) {
    const auto endpoint = Policy().Check(c.url);
    ASSERT_TRUE(endpoint) << c.url;
    EXPECT_EQ(endpoint->url, c.normal) << c.url;
    EXPECT_EQ(endpoint->origin, c.origin) << c.url;
    EXPECT_EQ(endpoint->host, c.host) << c.url;
    EXPECT_EQ(endpoint->port, c.port) << c.url;
  }
}

TEST(Endpoint, END_1_refuses_what_is_no_url_of_a_push_service) {
  const auto policy = Policy();
  for (const auto& url : {
           ""s,
           "https"s,
           "https:"s,
           "https://"s,
           "https:///"s,
           "https:///push.example.org/"s,
           "https:/push.example.org/"s,
           "https:push.example.org/"s,
           "//push.example.org/"s,
           "push.example.org/"s,
           "push.example.org:443"s,
           "http://push.example.org/"s,
           "ftp://push.example.org/"s,
           "file:///etc/passwd"s,
           "file://localhost/etc/passwd"s,
           "gopher://push.example.org/"s,
           "unix:///var/run/x"s,
           "httpss://push.example.org/"s,
           "ws://push.example.org/"s,
           "https://user@push.example.org/"s,
           "https://user:password@push.example.org/"s,
           "https://@push.example.org/"s,
           "https://:@push.example.org/"s,
           "https://push.example.org@8.8.8.8/"s,
           "https://a%40b.example/"s,
           "https://push.example.org/#"s,
           "https://push.example.org/#fragment"s,
           "https://push.example.org#fragment"s,
           "https://#/"s,
           "https://?/"s,
           "https://:443/"s,
           "https://push.example.org:0/"s,
           "https://push.example.org:00/"s,
           "https://push.example.org:65536/"s,
           "https://push.example.org:4294967739/"s,
           "https://push.example.org:-1/"s,
           "https://push.example.org:+443/"s,
           "https://push.example.org:443a/"s,
           "https://push.example.org:443:443/"s,
           "https://push.example.org:%34%34%33/"s,
           // white space, control characters, what other parsers rewrite
           " https://push.example.org/"s,
           "https://push.example.org/ "s,
           "https://push.example.org/a b"s,
           "https://push.example.org/\tx"s,
           "https://push.example.org/\r\nX-Header: 1"s,
           "https://push.example.org\r\n/"s,
           "https://push.example.org/\x01"s,
           "https://push.example.org/\x7f"s,
           "https://push.example.org/\0x"s,
           "https://push.example.org\0.evil.example/"s,
           "https://push.example.org\\@8.8.8.8/"s,
           "https:\\\\push.example.org\\"s,
           "https://push.example.org/<\">"s,
           "https://push.example.org/{}"s,
           // not ASCII: IDNs come as punycode
           "https://m\xc3\xbcller.example/"s,
           "https://push.example.org/\xc3\xbc"s,
           "https://\xe2\x91\xa0.example/"s,
           "https://m%C3%BCller.example/"s,
           "https://push%2eexample.org/"s,
           "https://push.example.org%00.evil.example/"s,
           // not names
           "https://push.example.org./"s,
           "https://./"s,
           "https://../"s,
           "https://.push.example.org/"s,
           "https://push..example.org/"s,
           "https://push,example.org/"s,
           "https://push*.example.org/"s,
           "https://push!example.org/"s,
           "https://push$example.org/"s,
           "https://(push).example.org/"s,
           "https://push;example.org/"s,
           "https://push=example.org/"s,
           "https://push&example.org/"s,
           "https://push'example.org/"s,
           "https://push~example.org/"s,
           "https://" + string(64, 'a') + ".example/",
           "https://" + test::Repeat("abcdefgh.", 30) + "example/",
           // nor addresses
           "https://1.2.3.4.5/"s,
           "https://256.256.256.256/"s,
           "https://8.8.8.09/"s,
           "https://a.8/"s,
           "https://a.0x8/"s,
           "https://4294967296/"s,
           "https://99999999999999999999/"s,
           "https://2606:4700::1111/"s,
           "https://[2606:4700::1111/"s,
           "https://2606:4700::1111]/"s,
           "https://[2606:4700::1111]a/"s,
           "https://[2606:4700::1111%25eth0]/"s,
           "https://[2606:4700::1111%eth0]/"s,
           "https://[8.8.8.8]/"s,
           "https://[push.example.org]/"s,
           "https://[v1.a]/"s,
           "https://[]/"s,
           "https://[[2606:4700::1111]]/"s,
           "https://[2606:4700::1111]:0/"s,
       }) {
    const auto endpoint = policy.Check(url);
    EXPECT_FALSE(endpoint) << testing::PrintToString(url) << " is " << endpoint->url;
  }
}

// Older versions of libcurl take that for a name, which it isn't.
TEST(Endpoint, END_1_a_number_with_a_dot_behind_it_is_that_number) {
  const auto endpoint = Policy().Check("https://8.8.8.8./");
  EXPECT_TRUE(!endpoint || endpoint->url == "https://8.8.8.8/");
  EXPECT_FALSE(Policy().Check("https://127.0.0.1./"));
  EXPECT_FALSE(Policy().Check("https://2130706433./"));
}

TEST(Endpoint, SUB_3_bounds_the_length) {
  const string url = "https://push.example.org/";
  EXPECT_TRUE(Policy().Check(url + string(1000 - url.size(), 'a')));
  EXPECT_FALSE(Policy().Check(url + string(1001 - url.size(), 'a')));
}

// However it is written.
constexpr const char* kLocalUrls[] = {"https://127.0.0.1/",
                                      "https://127.255.255.255:25/",
                                      "https://127.1/",
                                      "https://127.0.1/",
                                      "https://2130706433/",
                                      "https://0x7f000001/",
                                      "https://0x7F.1/",
                                      "https://0177.0.0.1/",
                                      "https://017700000001/",
                                      "https://0/",
                                      "https://0.0.0.0/",
                                      "https://00.0/",
                                      "https://10.0.0.1/",
                                      "https://012.1/",
                                      "https://172.16.0.1/",
                                      "https://192.168.0.1/",
                                      "https://169.254.169.254/latest/meta-data/",
                                      "https://0xa9fea9fe/",
                                      "https://100.64.0.1/",
                                      "https://255.255.255.255/",
                                      "https://224.0.0.1/",
                                      "https://[::]/",
                                      "https://[::1]/",
                                      "https://[0:0:0:0:0:0:0:1]/",
                                      "https://[::0001]:631/",
                                      "https://[::127.0.0.1]/",
                                      "https://[::ffff:127.0.0.1]/",
                                      "https://[::ffff:7f00:1]/",
                                      "https://[::FFFF:a9fe:a9fe]/",
                                      "https://[64:ff9b::127.0.0.1]/",
                                      "https://[64:ff9b::a00:1]/",
                                      "https://[fc00::1]/",
                                      "https://[fd12:3456::1]/",
                                      "https://[fe80::1]/",
                                      "https://[ff02::1]/",
                                      "https://[2002:7f00:1::]/"};

TEST(Endpoint, END_2_refuses_addresses_that_are_not_public) {
  const auto policy = Policy();
  for (const char* url : kLocalUrls) {
    EXPECT_FALSE(policy.Check(url)) << url;
  }
  const auto all = Policy("", "", "", "0.0.0.0/0 ::/0");
  for (const char* url : kLocalUrls) {
    EXPECT_TRUE(all.Check(url)) << url;
  }
}

TEST(Endpoint, END_2_refuses_localhost_by_name) {
  for (const char* url : {"https://localhost/", "https://LocalHost:8080/", "https://a.localhost/",
                          "https://b.a.LOCALHOST/"}) {
    EXPECT_FALSE(Policy().Check(url)) << url;
    EXPECT_FALSE(Policy("", "", "", "10.0.0.0/8 127.0.0.2").Check(url)) << url;
    EXPECT_TRUE(Policy("", "", "", "127.0.0.0/8").Check(url)) << url;
    EXPECT_TRUE(Policy("", "", "", "::1").Check(url)) << url;
  }
  for (const char* url : {"https://localhost./", "https://loc%61lhost/"}) {
    EXPECT_FALSE(Policy("", "", "", "127.0.0.0/8").Check(url)) << url;
  }
  EXPECT_TRUE(Policy().Check("https://notlocalhost/"));
  EXPECT_TRUE(Policy().Check("https://localhost.example/"));
}

TEST(Endpoint, END_2_networks_that_the_admin_allows) {
  const auto policy = Policy("", "", "", "127.0.0.0/8 fd00::/8");
  EXPECT_TRUE(policy.Check("https://127.0.0.1:8443/"));
  EXPECT_TRUE(policy.Check("https://2130706433:8443/"));
  EXPECT_TRUE(policy.Check("https://[::ffff:127.0.0.1]/"));
  EXPECT_TRUE(policy.Check("https://[fd00::1]/"));
  EXPECT_FALSE(policy.Check("https://[fc00::1]/"));
  EXPECT_FALSE(policy.Check("https://[::1]/"));
  EXPECT_FALSE(policy.Check("https://128.0.0.0.1/"));
  EXPECT_FALSE(policy.Check("http://127.0.0.1/"));
}

TEST(Endpoint, END_1_http_for_named_hosts_alone) {
  const auto policy =
      Policy("", "", "ntfy.example Other.example:8080 8.8.8.8:81 [2606::1]:82 2607::1", "");
  struct Case {
    const char* url;
    const char* origin;  // "" where it is refused
  };
  for (const auto& c : {Case{"http://ntfy.example/up", "http://ntfy.example"},
                        {"http://ntfy.example:80/up", "http://ntfy.example"},
                        {"http://ntfy.example:443/up", "http://ntfy.example:443"},
                        {"http://NTFY.example:2586/up", "http://ntfy.example:2586"},
                        {"https://ntfy.example/up", "https://ntfy.example"},
                        {"http://a.ntfy.example/up", ""},
                        {"http://xntfy.example/up", ""},
                        {"http://ntfy.example.org/up", ""},
                        {"http://other.example:8080/", "http://other.example:8080"},
                        {"http://other.example:08080/", "http://other.example:8080"},
                        {"http://other.example/", ""},
                        {"http://other.example:80801/", ""},
                        {"http://8.8.8.8:81/", "http://8.8.8.8:81"},
                        {"http://134744072:81/", "http://8.8.8.8:81"},
                        {"http://8.8.8.8/", ""},
                        {"http://[2606::1]:82/", "http://[2606::1]:82"},
                        {"http://[2606:0::0:1]:82/", "http://[2606::1]:82"},
                        {"http://[2606::1]/", ""},
                        {"http://[2607::1]:7/", "http://[2607::1]:7"},
                        {"http://127.0.0.1/", ""}}) {
    const auto endpoint = policy.Check(c.url);
    EXPECT_EQ(endpoint ? endpoint->origin : "", c.origin) << c.url;
  }
}

TEST(Endpoint, END_3_allow_and_deny_lists) {
  struct Case {
    const char* allowed;
    const char* denied;
    const char* host;
    bool ok;
  };
  for (const auto& c : {Case{"", "", "push.example.org", true},
                        {"push.example.org", "", "push.example.org", true},
                        {"push.example.org", "", "PUSH.example.org", true},
                        {"PUSH.Example.org", "", "push.example.org", true},
                        {"push.example.org", "", "a.push.example.org", false},
                        {"push.example.org", "", "example.org", false},
                        {"*.example.org", "", "push.example.org", true},
                        {"*.example.org", "", "a.b.example.org", true},
                        {"*.example.org", "", "example.org", false},
                        {"*.example.org", "", "badexample.org", false},
                        {"*.example.org", "", "example.org.evil.example", false},
                        {"*.example.org", "", "8.8.8.8", false},
                        {"a.example b.example", "", "b.example", true},
                        {"a.example\tb.example\n", "", "c.example", false},
                        {"", "push.example.org", "push.example.org", false},
                        {"", "push.example.org", "other.example.org", true},
                        {"", "*.example.org", "push.example.org", false},
                        {"", "*.example.org", "example.org", true},
                        {"*.example.org", "evil.example.org", "evil.example.org", false},
                        {"*.example.org", "evil.example.org", "good.example.org", true},
                        {"push.example.org", "*.example.org", "push.example.org", false},
                        {"8.8.8.8", "", "134744072", true},
                        {"", "8.8.8.8", "0x08080808", false},
                        {"", "2606:4700:0::1", "[2606:4700::1]", false},
                        {"[2606:4700::1]", "", "[2606:4700::1]", true}}) {
    EXPECT_EQ(Policy(c.allowed, c.denied).Check("https://"s + c.host + "/").has_value(), c.ok)
        << c.allowed << " / " << c.denied << " / " << c.host;
  }
}

TEST(Endpoint, END_3_lists_do_not_allow_an_address) {
  EXPECT_FALSE(Policy("127.0.0.1 localhost").Check("https://127.0.0.1/"));
  EXPECT_FALSE(Policy("127.0.0.1 localhost").Check("https://localhost/"));
  EXPECT_FALSE(Policy("", "", "127.0.0.1 localhost").Check("http://127.0.0.1/"));
  EXPECT_FALSE(Policy("", "", "127.0.0.1 localhost").Check("http://localhost/"));
}

TEST(Endpoint, END_3_tells_the_admin_what_is_wrong) {
  struct Case {
    const char* allowed;
    const char* denied;
    const char* http;
    const char* networks;
    const char* error;
  };
  for (const auto& c : {
           Case{"*", "", "", "", "coi_push_hosts: not a host or *.domain: *"},
           {"*.", "", "", "", "coi_push_hosts: not a host or *.domain: *."},
           {"a.*.example", "", "", "", "coi_push_hosts: not a host or *.domain: a.*.example"},
           {"*example.org", "", "", "", "coi_push_hosts: not a host or *.domain: *example.org"},
           {"*.*.example", "", "", "", "coi_push_hosts: not a host or *.domain: *.*.example"},
           {"*.1", "", "", "", "coi_push_hosts: not a host or *.domain: *.1"},
           {"a.example,b.example", "", "", "",
            "coi_push_hosts: not a host or *.domain: a.example,b.example"},
           {"https://a.example/", "", "", "",
            "coi_push_hosts: not a host or *.domain: https://a.example/"},
           {"", "a.example:443", "", "",
            "coi_push_hosts_denied: not a host or *.domain: a.example:443"},
           {"", "a.example.", "", "", "coi_push_hosts_denied: not a host or *.domain: a.example."},
           {"", "m\xc3\xbcller.example", "", "",
            "coi_push_hosts_denied: not a host or *.domain: m\xc3\xbcller.example"},
           {"", "", "*.example", "", "coi_push_hosts_http: not a host or host:port: *.example"},
           {"", "", "a.example:0", "", "coi_push_hosts_http: not a host or host:port: a.example:0"},
           {"", "", "a.example:", "", "coi_push_hosts_http: not a host or host:port: a.example:"},
           {"", "", "a.example:65536", "",
            "coi_push_hosts_http: not a host or host:port: a.example:65536"},
           {"", "", "http://a.example", "",
            "coi_push_hosts_http: not a host or host:port: http://a.example"},
           {"", "", ":80", "", "coi_push_hosts_http: not a host or host:port: :80"},
           {"", "", "", "10.0.0.0/33", "coi_push_networks: not a network: 10.0.0.0/33"},
       }) {
    auto policy = Policy("good.example");
    string error;
    EXPECT_FALSE(policy.Set(c.allowed, c.denied, c.http, c.networks, &error)) << c.error;
    EXPECT_EQ(error, c.error);
    // What was set stays.
    EXPECT_TRUE(policy.Check("https://good.example/"));
    EXPECT_FALSE(policy.Check("https://other.example/"));
  }
}

TEST(Endpoint, END_1_is_stable) {
  for (const char* url :
       {"https://a.example/%2e%2e/b", "https://a.example/a/%2E/b/.%2e/c",
        "https://a.example/..//..", "https://a.example//b//..//c", "https://a.example/?a/../b?c",
        "https://a.example?", "https://a.example/.", "https://a.example/...",
        "https://A.example:00443/x/..", "https://a.example/%", "https://a.example/%zz%1"}) {
    const auto endpoint = Policy().Check(url);
    ASSERT_TRUE(endpoint) << url;
    const auto again = Policy().Check(endpoint->url);
    ASSERT_TRUE(again) << url;
    EXPECT_EQ(again->url, endpoint->url);
    EXPECT_EQ(again->origin, endpoint->origin);
  }
}

}  // namespace
}  // namespace coi::relay

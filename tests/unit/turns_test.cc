// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/turns.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

using coi::relay::Turns;
using std::string;

// Items are letters; a user is a number.
using Users = std::vector<std::pair<int64_t, const char*>>;

Turns<char> Waiting(const Users& users) {
  Turns<char> turns;
  for (const auto& [user, items] : users) {
    for (const char item : string(items)) {
      turns.Add(user, item);
    }
  }
  return turns;
}

string TakeAll(Turns<char>* turns, const std::set<int64_t>& blocked = {}) {
  string taken;
  while (const auto item = turns->Take([&](int64_t user) { return !blocked.contains(user); })) {
    taken += *item;
  }
  return taken;
}

struct TakeCase {
  const char* name;
  Users users;
  std::set<int64_t> blocked;
  const char* taken;
  size_t left;
};

class TurnsTake : public testing::TestWithParam<TakeCase> {};

TEST_P(TurnsTake, in_turn) {
  const TakeCase& c = GetParam();
  Turns<char> turns = Waiting(c.users);
  EXPECT_EQ(TakeAll(&turns, c.blocked), c.taken);
  EXPECT_EQ(turns.size(), c.left);
  EXPECT_EQ(turns.empty(), c.left == 0);
}

INSTANTIATE_TEST_SUITE_P(
    Table, TurnsTake,
    testing::Values(
        TakeCase{"nothing", {}, {}, "", 0},
        TakeCase{"a_users_own_in_order", {{1, "abc"}}, {}, "abc", 0},
        TakeCase{"one_of_each", {{1, "abc"}, {2, "x"}, {3, "pq"}}, {}, "axpbqc", 0},
        TakeCase{"who_came_later_has_his_turn", {{1, "ab"}, {2, "x"}, {1, "c"}}, {}, "axbc", 0},
        TakeCase{"who_may_not_is_passed_over", {{1, "abc"}, {2, "xy"}}, {1}, "xy", 3},
        TakeCase{"nobody_may", {{1, "ab"}, {2, "x"}}, {1, 2}, "", 3}),
    [](const auto& param_info) { return string(param_info.param.name); });

TEST(Turns, who_was_passed_over_is_the_first_again) {
  Turns<char> turns = Waiting({{1, "ab"}, {2, "xyz"}});
  EXPECT_EQ(turns.Take([](int64_t user) { return user != 1; }), 'x');
  EXPECT_EQ(TakeAll(&turns), "aybz");
}

TEST(Turns, counts_by_user) {
  Turns<char> turns = Waiting({{1, "abc"}, {2, "x"}});
  EXPECT_EQ(turns.SizeOf(1), 3U);
  EXPECT_EQ(turns.SizeOf(3), 0U);
  TakeAll(&turns, {2});
  EXPECT_EQ(turns.SizeOf(1), 0U);
  EXPECT_EQ(turns.SizeOf(2), 1U);
}

TEST(Turns, finds_what_is_that_users) {
  Turns<char> turns = Waiting({{1, "abc"}, {2, "b"}});
  char* found = turns.Find(1, [](char item) { return item == 'b'; });
  ASSERT_NE(found, nullptr);
  *found = 'B';
  EXPECT_EQ(turns.Find(2, [](char item) { return item == 'a'; }), nullptr);
  EXPECT_EQ(turns.Find(3, [](char) { return true; }), nullptr);
  EXPECT_EQ(TakeAll(&turns), "abBc");
}

TEST(Turns, erases_what_is_that_users) {
  Turns<char> turns = Waiting({{1, "aba"}, {2, "a"}, {3, "a"}});
  turns.EraseIf(1, [](char item) { return item == 'a'; });
  EXPECT_EQ(turns.size(), 3U);
  turns.EraseIf(3, [](char) { return true; });
  turns.EraseIf(4, [](char) { return true; });
  EXPECT_EQ(turns.SizeOf(3), 0U);
  turns.Add(3, 'z');
  EXPECT_EQ(TakeAll(&turns), "baz");
}

TEST(Turns, visits_all) {
  const Turns<char> turns = Waiting({{1, "ab"}, {2, "x"}});
  string items;
  turns.ForEach([&](char item) { items += item; });
  EXPECT_EQ(items, "abx");
  std::set<int64_t> users;
  turns.ForEachUser([&](int64_t user) { users.insert(user); });
  EXPECT_EQ(users, (std::set<int64_t>{1, 2}));
}

TEST(Turns, is_empty_after_clear) {
  Turns<char> turns = Waiting({{1, "ab"}, {2, "x"}});
  turns.Clear();
  EXPECT_TRUE(turns.empty());
  EXPECT_EQ(turns.SizeOf(1), 0U);
  turns.Add(1, 'c');
  EXPECT_EQ(TakeAll(&turns), "c");
}

TEST(Turns, takes_what_can_only_be_moved) {
  Turns<std::unique_ptr<int>> turns;
  turns.Add(1, std::make_unique<int>(5));
  const auto item = turns.Take([](int64_t) { return true; });
  ASSERT_TRUE(item);
  EXPECT_EQ(**item, 5);
}

}  // namespace

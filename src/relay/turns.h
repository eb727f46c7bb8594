// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_RELAY_TURNS_H
#define COI_RELAY_TURNS_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>
#include <utility>

namespace coi::relay {

// Items that wait, each of a user. Users take turns, with their oldest item each; so
// none waits for all of another's, and one who can't be served is passed over in one
// step, however much he has.
template <class Item>
class Turns {
 public:
  size_t size() const noexcept {
    return size_;
  }
  bool empty() const noexcept {
    return size_ == 0;
  }
  size_t SizeOf(int64_t user) const {
    const auto found = places_.find(user);
    return found == places_.end() ? 0 : found->second->items.size();
  }

  void Add(int64_t user, Item item) {
    const auto [place, is_new] = places_.try_emplace(user);
    if (is_new) {
      place->second = line_.insert(line_.end(), User{user, {}});
    }
    place->second->items.push_back(std::move(item));
    ++size_;
  }

  // Of the first user in line who may; he is the last then. Nullopt where none may.
  template <class May>
  std::optional<Item> Take(May may) {
    const auto user = std::ranges::find_if(line_, [&](const User& one) { return may(one.user); });
    if (user == line_.end()) {
      return std::nullopt;
    }
    std::optional<Item> item(std::move(user->items.front()));
    user->items.pop_front();
    --size_;
    if (user->items.empty()) {
      places_.erase(user->user);
      line_.erase(user);
    } else {
      line_.splice(line_.end(), line_, user);
    }
    return item;
  }

  template <class Visit>
  void ForEachUser(Visit visit) const {
    for (const User& user : line_) {
      visit(user.user);
    }
  }
  template <class Visit>
  void ForEach(Visit visit) const {
    for (const User& user : line_) {
      std::ranges::for_each(user.items, visit);
    }
  }

  // The user's first item that matches, or nullptr.
  template <class Matches>
  Item* Find(int64_t user, Matches matches) {
    const auto found = places_.find(user);
    if (found == places_.end()) {
      return nullptr;
    }
    const auto item = std::ranges::find_if(found->second->items, matches);
    return item == found->second->items.end() ? nullptr : &*item;
  }

  template <class Matches>
  void EraseIf(int64_t user, Matches matches) {
    const auto found = places_.find(user);
    if (found != places_.end()) {
      size_ -= std::erase_if(found->second->items, matches);
      if (found->second->items.empty()) {
        line_.erase(found->second);
        places_.erase(found);
      }
    }
  }

  void Clear() noexcept {
    line_.clear();
    places_.clear();
    size_ = 0;
  }

 private:
  struct User {
    int64_t user = 0;
    std::list<Item> items;
  };

  // In the order of their turns.
  std::list<User> line_;
  std::unordered_map<int64_t, typename std::list<User>::iterator> places_;
  size_t size_ = 0;
};

}  // namespace coi::relay

#endif  // COI_RELAY_TURNS_H

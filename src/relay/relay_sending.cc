// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
// What is sent, and when: the push services (origins) that have something to do
// take turns, each as fast as it answers.

#include <algorithm>
#include <utility>

#include "push/payload.h"
#include "relay/relay.h"
#include "relay/retry.h"
#include "util/base64.h"

namespace coi::relay {
namespace {

using push::Handoff;
using push::Subscription;
using std::optional;
using std::string;
using std::string_view;
using std::vector;

// For how long one Run() may be busy with making requests: clients wait.
constexpr int64_t kSendUsecs = 2000;
constexpr unsigned int kSendCount = 64;

constexpr int64_t kLoadCount = 128;
constexpr size_t kOriginsMax = 4096;
constexpr int64_t kPollCount = 64;
// Never less either, so that a few requests that hang don't hold all of it.
constexpr unsigned int kLeastWindow = 4;
// See kSick.
constexpr int64_t kUnreachablePoints = 3;

constexpr size_t kTokensMax = 1024;
constexpr int64_t kTokenSecs = int64_t{12} * 3600;

constexpr const char* kTooLate = "it could not be delivered in time";

}  // namespace

// -- origins --

bool Relay::IsSick(const Origin& origin) const {
  return origin.failures >= kSick;
}

bool Relay::CanStart(const Origin& origin) const {
  if (IsSick(origin)) {
    return origin.resume <= now_ && origin.in_flight == 0;
  }
  return origin.in_flight < std::min(origin.window, settings_.in_flight_origin_limit);
}

// What is remembered is for how many of them it was left alone.
int64_t Relay::LeastVain(int64_t failures) {
  return std::max<int64_t>(failures - kSick + 1, 0);
}

Relay::Origin* Relay::MakeOrigin(const OriginState& state) {
  auto origin = std::make_unique<Origin>();
  origin->id = state.id;
  origin->failures = state.failures;
  origin->vain = LeastVain(state.failures);
  origin->resume = std::min(state.resume, now_ + kMaxDelayMsecs);
  origin->window = kLeastWindow;
  origin->used = now_;
  Origin* made = origin.get();
  origins_.emplace(state.id, std::move(origin));
  return made;
}

// Looks after an origin from now on. Nullptr where there are too many, or the queue
// has failed.
Relay::Origin* Relay::Activate(int64_t id) {
  const auto found = origins_.find(id);
  if (found != origins_.end()) {
    return found->second.get();
  }
  if (origins_.size() >= kOriginsMax) {
    return nullptr;
  }
  optional<OriginState> state;
  if (!queue_->GetOrigin(id, &state)) {
    return nullptr;
  }
  Origin* origin = MakeOrigin(state.value_or(OriginState{id, std::nullopt, 0, 0}));
  // It has been here before, and may have left something.
  origin->backlog = state.has_value();
  MakeRunnable(origin);
  return origin;
}

void Relay::MakeRunnable(Origin* origin) {
  if (!origin->runnable) {
    origin->runnable = true;
    (origin->proven ? runnable_ : runnable_unproven_).push_back(origin);
  }
}

// May some of what it has in the queue be this user's?
bool Relay::MayOwn(const Origin& origin, int64_t user) {
  return origin.owners.empty() || std::ranges::find(origin.owners, user) != origin.owners.end();
}

// The queue has something for it: of this user, or nobody knows whose.
void Relay::HasDue(Origin* origin, optional<int64_t> user) {
  origin->backlog = true;
  if (!user || HasShare(*origin, *user)) {
    origin->owners.clear();
  } else if (!MayOwn(*origin, *user)) {
    origin->owners.push_back(*user);
  }
  MakeRunnable(origin);
}

void Relay::SetWake(Origin* origin, int64_t wake) {
  if (origin->wake != 0) {
    wakes_.erase({origin->wake, origin});
  }
  origin->wake = wake;
  if (wake != 0) {
    wakes_.emplace(wake, origin);
  }
}

// Leaves those to the queue that have had nothing to do for the longest time. Who
// floods us with others mustn't make us forget those that work.
void Relay::EvictOrigins() {
  if (origins_.size() < kOriginsMax - kOriginsMax / 8 || !updates_.empty() || evict_at_ > now_) {
    return;
  }
  vector<Origin*> idle;
  vector<Origin*> good_ones;
  for (const auto& [id, origin] : origins_) {
    const bool is_good = origin->proven && origin->used > now_ - kHour;
    if (origin->busy == 0 && origin->ready.empty() && !origin->runnable &&
        (!origin->backlog || IsSick(*origin))) {
      (is_good ? good_ones : idle).push_back(origin.get());
    }
  }
  const auto by_use = [](const Origin* a, const Origin* b) { return a->used < b->used; };
  if (good_ones.size() > kOriginsMax / 2) {
    std::sort(good_ones.begin(), good_ones.end(), by_use);
    idle.insert(idle.end(), good_ones.begin(), good_ones.end() - kOriginsMax / 2);
  }
  std::sort(idle.begin(), idle.end(), by_use);
  idle.resize(std::min(idle.size(), kOriginsMax / 8));
  if (idle.empty()) {
    evict_at_ = now_ + kSecond;
    return;
  }
  bool good = queue_->Begin();
  optional<int64_t> earliest = poll_at_;
  for (const Origin* origin : idle) {
    OriginState state{origin->id, std::nullopt, origin->failures, origin->resume};
    good = good && queue_->NextDue(origin->id, 0, &state.due);
    if (!good) {
      break;
    }
    if (state.due) {
      state.due = std::max(*state.due, origin->resume);
      earliest = std::min(earliest.value_or(*state.due), *state.due);
      good = queue_->PutOrigin(state);
    } else {
      good = queue_->DeleteOrigin(origin->id);
    }
  }
  if (!good || !queue_->Commit()) {
    QueueFailed("put origins away");
    evict_at_ = now_ + kSecond;
    return;
  }
  poll_at_ = earliest;
  for (Origin* origin : idle) {
    SetWake(origin, 0);
    origins_.erase(origin->id);
  }
}

// Origins that the queue says have something to do.
void Relay::PollOrigins() {
  EvictOrigins();
  if (!poll_at_ || *poll_at_ > now_) {
    return;
  }
  vector<OriginState> due;
  const size_t room = origins_.size() < kOriginsMax ? kOriginsMax - origins_.size() : 0;
  const int64_t limit = std::min(static_cast<int64_t>(room), kPollCount);
  if (limit == 0) {
    poll_at_ = now_ + kSecond;
    return;
  }
  if (!queue_->WakeOrigins(now_)) {
    QueueFailed("look for what is due");
    poll_at_ = now_ + kSecond;
    return;
  }
  bool good = queue_->Begin() && queue_->DueOrigins(now_, limit, &due);
  for (OriginState& state : due) {
    state.due = OriginState::kActive;
    good = good && queue_->PutOrigin(state);
  }
  poll_at_.reset();
  good = good && queue_->NextOrigin(&poll_at_) && queue_->Commit();
  if (!good) {
    QueueFailed("look for what is due");
    poll_at_ = now_ + kSecond;
  }
  // Even if that wasn't written: it is due all the same.
  for (const OriginState& state : due) {
    const auto found = origins_.find(state.id);
    Origin* origin = found != origins_.end() ? found->second.get() : MakeOrigin(state);
    origin->marked = good;
    HasDue(origin);
  }
  if (poll_at_ && *poll_at_ <= now_) {
    work_left_ = true;
  }
}

// -- sending --

void Relay::Unready(Origin* origin, int64_t user, const std::function<bool(const Item&)>& matches) {
  origin->ready.EraseIf(user, [&](const Item& item) {
    if (!matches(item)) {
      return false;
    }
    --ready_;
    ready_bytes_ -= item.mail->size;
    return true;
  });
}

void Relay::UnreadyAll(Origin* origin) {
  origin->ready.ForEach([this](const Item& item) { ready_bytes_ -= item.mail->size; });
  ready_ -= origin->ready.size();
  origin->ready.Clear();
}

bool Relay::MayUnproven() const {
  return unproven_ < std::max(settings_.in_flight_limit / 2, 1U) && !runnable_unproven_.empty();
}

bool Relay::HasRunnable() const {
  return in_flight_ < settings_.in_flight_limit && (!runnable_.empty() || MayUnproven());
}

// Those that have not shown that they answer share one half of what may be under
// way, so that they can't take everything and let it hang.
Relay::Origin* Relay::NextRunnable() {
  if (!HasRunnable()) {
    return nullptr;
  }
  const bool may_unproven = MayUnproven();
  turn_ = !turn_;
  std::deque<Origin*>* from =
      may_unproven && (turn_ || runnable_.empty()) ? &runnable_unproven_ : &runnable_;
  Origin* origin = from->front();
  from->pop_front();
  origin->runnable = false;
  return origin;
}

void Relay::MakeItemReady(Origin* origin, Item item) {
  if (origin->first_user == 0) {
    origin->first_user = item.push.user;
  }
  origin->is_shared =
      origin->is_shared || origin->first_user != item.push.user || !item.subscription.token.empty();
  ++ready_;
  ready_bytes_ += item.mail->size;
  const int64_t user = item.push.user;
  origin->ready.Add(user, std::move(item));
}

// Beyond a first request, one user gets at most as much of a service as is left to
// others: all device tokens have one gateway, which may hang for some of them. That
// is counted in connections, for a service that has one for each request.
bool Relay::HasShare(const Origin& origin, int64_t user) const {
  const auto found = origin.users.find(user);
  return !origin.is_shared || found == origin.users.end() ||
         found->second + origin.in_flight <
             std::min(origin.window, settings_.connections_origin_limit);
}

// Looking through what one user has waiting, for each of his pushes anew, would take
// most of the time.
bool Relay::HasUsefulBacklog(const Origin& origin) const {
  return origin.backlog &&
         (origin.owners.empty() ||
          std::ranges::any_of(origin.owners, [&](int64_t user) { return HasShare(origin, user); }));
}

// One whose user hasn't too much under way; or none, and then the origin is told when
// that has changed for one of them.
optional<Relay::Item> Relay::NextItem(Origin* origin) {
  const unsigned int most = std::max(settings_.in_flight_limit / 8, 1U);
  // A service that answers goes on with a few, or it would stand still behind the
  // pushes of a user whose other services hang.
  const bool is_well = origin->proven && origin->in_flight < kLeastWindow;
  optional<Item> item = origin->ready.Take([&](int64_t user) {
    if (!HasShare(*origin, user)) {
      return false;  // Finish() calls again.
    }
    if (is_well) {
      return true;
    }
    const auto found = users_in_flight_.find(user);
    return found == users_in_flight_.end() || found->second.count < most;
  });
  if (item) {
    --ready_;
    ready_bytes_ -= item->mail->size;
  } else {
    origin->ready.ForEachUser([&](int64_t user) {
      vector<int64_t>& waiting = users_in_flight_[user].waiting;
      if (std::ranges::find(waiting, origin->id) == waiting.end()) {
        waiting.push_back(origin->id);
      }
    });
  }
  return item;
}

void Relay::UserFinished(int64_t user) {
  const auto found = users_in_flight_.find(user);
  if (found == users_in_flight_.end()) {
    return;
  }
  --found->second.count;
  for (const int64_t id : std::exchange(found->second.waiting, {})) {
    const auto origin = origins_.find(id);
    if (origin != origins_.end()) {
      MakeRunnable(origin->second.get());
    }
  }
  if (found->second.count == 0) {
    users_in_flight_.erase(found);
  }
}

// Returns whether the sender has got something.
bool Relay::StartSome() {
  const int64_t began = parts_.clock->SteadyUsecs();
  unsigned int started = 0;
  const unsigned int before = in_flight_;
  for (;;) {
    if (started >= kSendCount || parts_.clock->SteadyUsecs() - began >= kSendUsecs) {
      work_left_ = true;
      break;
    }
    Origin* origin = NextRunnable();
    if (origin == nullptr) {
      break;
    }
    if (!origin->proven && unproven_ >= std::max(settings_.in_flight_limit / 2, 1U)) {
      MakeRunnable(origin);  // It was proven when it was put into the queue.
      continue;
    }
    if (IsSick(*origin) && origin->resume > now_) {
      SetWake(origin, origin->resume);
      continue;
    }
    if (!CanStart(*origin)) {
      continue;  // Finish() calls again.
    }
    if (origin->ready.empty() && origin->backlog &&
        (!HasUsefulBacklog(*origin) || !LoadBacklog(origin))) {
      continue;
    }
    ++started;
    if (!origin->ready.empty()) {
      optional<Item> item = NextItem(origin);
      if (!item) {
        // Finish() or UserFinished() calls again; but others may wait behind these.
        const size_t blocked = origin->ready.size();
        if (HasUsefulBacklog(*origin) && blocked < kBlockedMax && LoadBacklog(origin) &&
            origin->ready.size() > blocked) {
          MakeRunnable(origin);
        }
        continue;
      }
      StartItem(origin, *std::move(item));
    }
    if (!origin->ready.empty() || origin->backlog) {
      MakeRunnable(origin);
    }
  }
  return in_flight_ > before;
}

// Reads some of what is due. False if that can't be now.
bool Relay::LoadBacklog(Origin* origin) {
  // What was done must be written first, or it would look like due.
  if (!Flush()) {
    SetWake(origin, std::max(retry_queue_at_, now_ + 1));
    return false;
  }
  // They have something under way, so they are few.
  vector<int64_t> left_out;
  const auto wanted = [&](const QueuedPush& row) {
    if (busy_.contains(row.id) || origin->ready.Find(row.user, [&](const Item& item) {
          return item.push.id == row.id;
        }) != nullptr) {
      return false;
    }
    const bool has_share = HasShare(*origin, row.user);
    if (!has_share && std::ranges::find(left_out, row.user) == left_out.end()) {
      left_out.push_back(row.user);
    }
    return has_share;
  };
  vector<QueuedPush> rows;
  bool all = false;
  optional<int64_t> next;
  bool good = queue_->Due(origin->id, now_, kLoadCount, wanted, &rows, &all);
  if (good && all) {
    good = queue_->NextDue(origin->id, now_, &next);
    if (good && next && *next > now_ + kMaxDelayMsecs + kHour) {
      // No delay is that long: the clock was set back while nobody looked.
      good = queue_->Begin() && queue_->Hasten(origin->id, now_ + kMaxDelayMsecs, now_) &&
             queue_->Commit();
      next = now_ + 1;
    }
  }
  if (!good) {
    QueueFailed("read what is due");
    SetWake(origin, now_ + kSecond);
    return false;
  }
  origin->backlog = !all || !left_out.empty();
  if (all) {
    SetWake(origin, next.value_or(0));
  }
  if (!left_out.empty() && rows.empty()) {
    origin->owners = std::move(left_out);
    origin->saw_all = all;
    return false;  // Finish() calls again.
  }
  if (!origin->saw_all) {
    origin->owners.clear();
  }

  for (const QueuedPush& row : rows) {
    if ((ready_ >= kReadyMax || ready_bytes_ >= kReadyBytesMax) && !origin->ready.empty()) {
      origin->backlog = true;
      break;
    }
    Busy busy;
    busy.origin = origin;
    busy.push = row;
    busy.done = true;
    auto item = LoadItem(row, &busy);
    if (item) {
      MakeItemReady(origin, std::move(*item));
    } else {
      ++origin->busy;
      busy_.emplace(row.id, std::move(busy));
    }
  }
  return true;
}

// Reads a hand-off back into last_mail_, which is nullptr where it isn't there or can't
// be opened. False where the queue failed.
bool Relay::LoadMail(int64_t handoff_id) {
  if (last_mail_ != nullptr && last_mail_id_ == handoff_id) {
    return true;
  }
  last_mail_.reset();
  optional<QueuedHandoff> stored;
  if (!queue_->GetHandoff(handoff_id, &stored)) {
    return false;
  }
  const auto line =
      stored ? keys_->storage().Decrypt(stored->sealed, std::to_string(handoff_id)) : std::nullopt;
  auto mail = std::make_shared<Mail>();
  const char* error = nullptr;
  if (line && push::ParseHandoff(*line, &mail->handoff, &error)) {
    mail->accepted_usecs = stored->accepted_usecs;
    mail->size = line->size();
    last_mail_ = std::move(mail);
    last_mail_id_ = handoff_id;
  }
  return true;
}

// Reads a push back. Nullopt where it isn't sent; then an update says why.
optional<Relay::Item> Relay::LoadItem(const QueuedPush& row, Busy* busy) {
  Update update;
  update.id = row.id;
  const int64_t handoff_id = row.id / kPushesPerHandoff;
  const auto place = static_cast<size_t>(row.id % kPushesPerHandoff);
  if (!LoadMail(handoff_id)) {
    QueueFailed("read a hand-off");
    // Left as it is; it is tried again after a while. One that is expired would be due at
    // once, again and again.
    if (row.expires > now_) {
      update.kind = Update::kDefer;
      update.next = now_ + kMinute;
      update.attempts = row.attempts;
      update.flags = row.flags;
      Note(update);
      return std::nullopt;
    }
  }
  optional<Subscription> subscription;
  if (last_mail_ != nullptr && place < last_mail_->handoff.subscriptions.size()) {
    busy->user = last_mail_->handoff.user;
    busy->subscription_id = last_mail_->handoff.subscriptions[place].first;
    busy->accepted_usecs = last_mail_->accepted_usecs;
    subscription = push::ReadStored(last_mail_->handoff.subscriptions[place].second);
  }
  if (!subscription) {
    busy->accepted_usecs = now_usecs_;
    Drop(*busy,
         row.expires <= now_ ? kTooLate : "it can't be read; its key may have been replaced");
    Note(update);
    return std::nullopt;
  }
  auto endpoint = policy_.Check(EndpointOf(*subscription));
  if (endpoint) {
    busy->origin_text = endpoint->origin;
  }
  if (row.expires <= now_) {
    Drop(*busy, kTooLate);
    Note(update);
    return std::nullopt;
  }
  if (!endpoint) {
    ++busy->push.attempts;
    Emit(COI_RELAY_DEFERRED, *busy, 0, "not allowed", false);
    TellSometimes(COI_RELAY_LOG_WARNING, "not allowed", kHour,
                  "The endpoint of a subscription of " + Printable(busy->user) +
                      " is not allowed (any more)");
    update.kind = Update::kDefer;
    update.attempts = busy->push.attempts;
    update.next = now_ + KeepDelay(static_cast<unsigned int>(update.attempts), random_());
    update.flags = row.flags | kFlagApart;
    Note(update);
    return std::nullopt;
  }
  const int64_t origin = OriginName(endpoint->origin);
  if (origin != row.origin) {
    // It wasn't allowed before.
    update.kind = Update::kMove;
    update.origin = origin;
    Note(update);
    return std::nullopt;
  }
  Item item;
  item.push = row;
  item.mail = last_mail_;
  item.subscription_id = busy->subscription_id;
  item.subscription = std::move(*subscription);
  item.endpoint = std::move(*endpoint);
  return item;
}

string Relay::Authorization(const Subscription& subscription, const Endpoint& endpoint) {
  const int64_t now = wall_usecs_ / 1000000;
  if (!subscription.vapid.empty() && keys_->VapidId(subscription.vapid) != subscription.vapid) {
    TellSometimes(COI_RELAY_LOG_WARNING, "key", kHour,
                  "A subscription at " + endpoint.origin +
                      " was made with a VAPID key that is not here; its push service refuses what "
                      "is signed with another");
  }
  Token& token = tokens_[keys_->VapidId(subscription.vapid) + ' ' + endpoint.origin];
  // Half of its life is left for whoever has a wrong clock.
  if (token.value.empty() || token.expires < now + kTokenSecs / 2 ||
      token.expires > now + kTokenSecs + 60) {
    token.expires = now + kTokenSecs;
    token.value = keys_->Vapid(subscription.vapid)
                      .Authorization(endpoint.origin, vapid_subject_, token.expires);
  }
  string value = token.value;
  if (tokens_.size() > kTokensMax) {
    tokens_.clear();
  }
  return value;
}

bool Relay::StartItem(Origin* origin, Item item) {
  Busy busy;
  busy.origin = origin;
  busy.push = item.push;
  busy.accepted_usecs = item.mail->accepted_usecs;
  busy.user = item.mail->handoff.user;
  busy.subscription_id = item.subscription_id;
  busy.origin_text = item.endpoint.origin;
  busy.vapid = item.subscription.vapid;
  Update update;
  update.id = item.push.id;
  origin->used = now_;
  const Handoff& handoff = item.mail->handoff;

  PushRequest request;
  request.id = static_cast<uint64_t>(item.push.id);
  const char* problem = nullptr;
  if (item.push.expires <= now_) {
    problem = kTooLate;
  } else if (!item.subscription.token.empty()) {
    request.is_device_token = true;
    request.body = item.subscription.token;
  } else {
    const bool with_content = (item.push.flags & kFlagWithoutContent) == 0;
    string payload;
    if (with_content) {
      if (item.mail->payload.empty()) {
        item.mail->payload = push::BuildPayload(handoff.mail, true);
      }
      payload = item.mail->payload;
    } else {
      payload = push::BuildPayload(handoff.mail, false);
    }
    request.authorization = Authorization(item.subscription, item.endpoint);
    if (request.authorization.empty() ||
        !encrypter_.Encrypt(item.subscription.p256dh, item.subscription.auth, payload,
                            &request.body)) {
      problem = "it can't be encrypted or signed";
    }
  }
  if (problem != nullptr) {
    Drop(busy, problem);
    busy.done = true;
    ++origin->busy;
    busy_.emplace(item.push.id, std::move(busy));
    Note(update);
    work_left_ = true;
    return false;
  }
  // A retry replaces what may have come through (RFC 8030, 5.4).
  string topic = "mail";
  for (const string& part :
       {handoff.user, item.subscription_id, std::to_string(handoff.mail.uidvalidity),
        handoff.mail.folder, std::to_string(handoff.mail.uid)}) {
    topic += ' ' + std::to_string(part.size()) + ':' + part;
  }
  request.topic = util::EncodeBase64Url(keys_->storage().Mac(topic).substr(0, kTopicSize));
  request.ttl_secs = static_cast<unsigned int>(
      std::clamp<int64_t>((item.push.expires - now_) / kSecond, 0, kServiceTtlMaxSecs));
  request.urgency = handoff.chat ? Urgency::kHigh : Urgency::kNormal;
  request.endpoint = std::move(item.endpoint);

  busy.probe = IsSick(*origin);
  busy.proven = origin->proven;
  busy_.emplace(item.push.id, std::move(busy));
  ++users_in_flight_[item.push.user].count;
  ++origin->users[item.push.user];
  ++origin->busy;
  ++origin->in_flight;
  ++in_flight_;
  if (!origin->proven) {
    ++unproven_;
  }
  sender_->Start(std::move(request));
  return true;
}

// What an answer says about the push service as a whole.
void Relay::NoteHealth(Origin* origin, const Busy& push, const SendResult& result) {
  const bool was_sick = IsSick(*origin);
  const int64_t before = origin->failures;
  if (result.status == SendStatus::kNotAllowed || result.is_bystander) {
    return;
  }
  const bool answered = result.status == SendStatus::kAnswered;
  // ntfy's 507 says that nobody listens to that one.
  const bool broken = answered && result.http_status >= 500 && result.http_status != 507;
  if (answered && !broken) {
    // It works, but may have had too much.
    origin->window = result.http_status == 429
                         ? std::max(origin->window / 2, kLeastWindow)
                         : std::min(origin->window + 1, settings_.in_flight_origin_limit);
    // Those that don't answer may keep it waiting for long.
    if (!std::exchange(origin->proven, true) && std::erase(runnable_unproven_, origin) > 0) {
      runnable_.push_back(origin);
    }
    origin->failures = 0;
    origin->resume = 0;
    origin->failed.clear();
  } else {
    if (!broken) {
      origin->proven = false;
    }
    const bool first = std::ranges::find(origin->failed, push.push.user) == origin->failed.end();
    if (first) {
      origin->window = std::max(origin->window / 2, kLeastWindow);
    }
    if (was_sick) {
      // Others that were under way when it fell ill say nothing new.
      origin->failures += push.probe ? 1 : 0;
    } else if (first) {
      // One user's dead subscriptions don't make a service sick for others.
      origin->failed.push_back(push.push.user);
      origin->failures = std::min(origin->failures + (broken ? 1 : kUnreachablePoints), kSick);
    }
  }
  if (IsSick(*origin) && origin->failures != before) {
    const auto times =
        static_cast<unsigned int>(std::min<int64_t>(origin->failures - kSick + 1, 1000));
    origin->resume = now_ + OriginPause(times, random_());
    UnreadyAll(origin);
    HasDue(origin);
    TellSometimes(COI_RELAY_LOG_WARNING, "sick " + push.origin_text, kHour,
                  push.origin_text + " does not work (" + Problem(result) +
                      "); it is left alone, and tried now and then");
  }
  if (was_sick != IsSick(*origin) || (was_sick && origin->failures != before)) {
    if (was_sick && !IsSick(*origin)) {
      TellSometimes(COI_RELAY_LOG_INFO, "well " + push.origin_text, kHour,
                    push.origin_text + " works again");
    }
    Update update;
    update.kind = Update::kOrigin;
    update.origin = origin->id;
    update.failures = origin->failures;
    update.next = origin->resume;
    Note(update);
  }
}

void Relay::Finish(const SendResult& result) {
  const auto found = busy_.find(static_cast<int64_t>(result.id));
  if (found == busy_.end() || found->second.done) {
    return;
  }
  Busy& busy = found->second;
  Origin* origin = busy.origin;
  busy.done = true;
  --origin->in_flight;
  --in_flight_;
  if (!busy.proven) {
    --unproven_;
  }
  UserFinished(busy.push.user);
  const auto user = origin->users.find(busy.push.user);
  if (user != origin->users.end() && --user->second == 0) {
    origin->users.erase(user);
  }
  busy.push.attempts += result.is_bystander ? 0 : 1;
  const auto attempts = static_cast<unsigned int>(std::min<int64_t>(busy.push.attempts, 100000));
  NoteHealth(origin, busy, result);

  Update update;
  update.id = busy.push.id;
  update.user = busy.push.user;
  update.subscription = busy.push.subscription;
  update.attempts = busy.push.attempts;
  update.flags = busy.push.flags;
  const auto http =
      static_cast<unsigned int>(result.status == SendStatus::kAnswered ? result.http_status : 0);
  const string error = result.status == SendStatus::kAnswered ? string() : Problem(result);
  const auto same_subscription = [&](const Item& item) {
    return item.push.subscription == busy.push.subscription;
  };
  Verdict verdict = Judge(result, (busy.push.flags & kFlagWithoutContent) != 0);
  if (verdict == Verdict::kGone && busy.outdated) {
    verdict = Verdict::kRetry;
  }
  if (verdict == Verdict::kDelivered || verdict == Verdict::kGone) {
    origin->vain = 0;
  } else if (!result.is_bystander) {
    ++origin->vain;
  }
  if (verdict == Verdict::kDelivered) {
    origin->refused.clear();
  } else if (verdict == Verdict::kKeep) {
    origin->refused_at = now_;
    if (origin->refused.size() < kRefusedMax &&
        std::ranges::find(origin->refused, busy.push.user) == origin->refused.end()) {
      origin->refused.push_back(busy.push.user);
    }
  }
  switch (verdict) {
    case Verdict::kDelivered:
      update.kind = Update::kDelete;
      Emit(COI_RELAY_DELIVERED, busy, http, error, false);
      break;
    case Verdict::kGone:
      update.kind = Update::kGone;
      Unready(origin, busy.push.user, same_subscription);
      Emit(COI_RELAY_GONE, busy, http, error, false);
      break;
    case Verdict::kRetry:
      update.kind = Update::kHold;
      update.next = now_ + RetryDelay(attempts, result.retry_after_secs, random_());
      Unready(origin, busy.push.user, [&](const Item& item) {
        return same_subscription(item) && (item.push.flags & kFlagApart) == 0;
      });
      NotTaken(busy, http, error);
      break;
    case Verdict::kWithoutContent:
      update.kind = Update::kDefer;
      update.next = now_;
      update.flags |= kFlagWithoutContent;
      NotTaken(busy, http, error);
      break;
    case Verdict::kDrop:
      update.kind = Update::kDelete;
      Emit(COI_RELAY_DROPPED, busy, http, error, false);
      TellSometimes(COI_RELAY_LOG_WARNING, "drop " + busy.origin_text, kHour,
                    "A push to " + busy.origin_text + " is dropped: it is refused (" +
                        Problem(result) + "), also without the mail's text");
      break;
    case Verdict::kKeep:
      update.kind = Update::kDefer;
      update.next = now_ + KeepDelay(attempts, random_());
      update.flags |= kFlagApart;
      NotTaken(busy, http, error);
      // Perhaps it was the token.
      tokens_.erase(keys_->VapidId(busy.vapid) + ' ' + busy.origin_text);
      TellSometimes(COI_RELAY_LOG_WARNING, "refused " + busy.origin_text, kHour,
                    busy.origin_text + " has refused a push (" + Problem(result) +
                        "); it is kept, and tried again later");
      break;
  }
  Note(update);
  MakeRunnable(origin);
}

}  // namespace coi::relay

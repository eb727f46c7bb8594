// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
// What mail processes ask for over the socket, and what is in the spool:
// docs/handoff.md.

#include <algorithm>
#include <utility>

#include "push/payload.h"
#include "relay/relay.h"
#include "relay/retry.h"
#include "util/base64.h"

namespace coi::relay {
namespace {

using push::Handoff;
using push::HandoffKind;
using push::Subscription;
using std::optional;
using std::string;
using std::vector;

constexpr size_t kSpoolBatch = 32;
constexpr int kRegistrationsOriginMax = 8;
constexpr int kRegistrationsUserMax = 10;
constexpr size_t kRecentMax = 32768;

constexpr const char* kUnavailable = "unavailable";

}  // namespace

// -- intake --

void Relay::Handle(Intake::Request request, vector<Incoming>* deliveries) {
  Handoff handoff;
  const char* error = "it is too long, or more than a line";
  if (request.bad || !push::ParseHandoff(request.line, &handoff, &error)) {
    TellSometimes(COI_RELAY_LOG_WARNING, "bad-request", kMinute,
                  string("A request over the socket is refused: ") + error);
    intake_->Answer(request.client, push::WriteReply(false, {"bad-request"}));
    return;
  }
  switch (handoff.kind) {
    case HandoffKind::kVapid:
      intake_->Answer(request.client,
                      push::WriteReply(true, {"ok", "key=" + keys_->vapid().PublicPem()}));
      return;
    case HandoffKind::kStatus:
      AskStatus(request);
      return;
    case HandoffKind::kGone:
      AnswerGone(request.client, request.uid, handoff);
      return;
    case HandoffKind::kForget:
      Forget(request.client, request.uid, handoff);
      return;
    case HandoffKind::kRegister:
      Register(request.client, request.uid, handoff);
      return;
    case HandoffKind::kDeliver:
      break;
  }
  Incoming incoming;
  incoming.client = request.client;
  incoming.line = std::move(request.line);
  incoming.uid = request.uid;
  incoming.accepted_usecs = now_usecs_;
  incoming.handoff = std::move(handoff);
  deliveries->push_back(std::move(incoming));
}

void Relay::Forget(uint64_t client, unsigned int uid, const Handoff& handoff) {
  Update update;
  update.kind = Update::kForget;
  update.user = UserName(handoff.user, uid);
  for (const auto& [id, json] : handoff.subscriptions) {
    const auto subscription = push::ReadStored(json);
    if (!subscription) {
      continue;
    }
    update.subscription = SubscriptionName(handoff.user, uid, id, *subscription);
    Note(update);
    const auto endpoint = policy_.Check(EndpointOf(*subscription));
    const auto origin = origins_.find(OriginName(endpoint ? endpoint->origin : string()));
    if (origin != origins_.end()) {
      Unready(origin->second.get(), update.user,
              [&](const Item& item) { return item.push.subscription == update.subscription; });
    }
  }
  // Killed right after it, the next process must not send them.
  Flush();
  intake_->Answer(client, push::WriteReply(true, {"ok"}));
}

void Relay::AnswerGone(uint64_t client, unsigned int uid, const Handoff& handoff) {
  vector<string> fields = {"ok"};
  for (const auto& [id, json] : handoff.subscriptions) {
    const auto subscription = push::ReadStored(json);
    SubscriptionState state;
    if (!subscription) {
      continue;
    }
    if (!GetSubscription(SubscriptionName(handoff.user, uid, id, *subscription), &state)) {
      QueueFailed("look up subscriptions");
      intake_->Answer(client, push::WriteReply(false, {kUnavailable}));
      return;
    }
    if (IsGone(state, *subscription)) {
      fields.push_back("gone=" + id);
    }
  }
  intake_->Answer(client, push::WriteReply(true, fields));
}

void Relay::Deliver(vector<Incoming>* deliveries) {
  // Who has gone has put it into the spool.
  std::erase_if(*deliveries, [this](const Incoming& incoming) {
    return incoming.file.empty() && !intake_->IsThere(incoming.client);
  });
  uint64_t size = 0;
  for (const Incoming& incoming : *deliveries) {
    size += incoming.line.size();
  }
  vector<Expected> expected;
  const bool has_room = queue_->HasRoom(size);
  bool good = has_room && queue_->Begin();
  bool flush = !updates_.empty() && retry_queue_at_ <= now_;
  if (flush && good && !ApplyUpdates(&expected)) {
    // What can't be noted keeps nobody out.
    retry_queue_at_ = now_ + kSecond;
    QueueFailed("note what was sent");
    flush = false;
    expected.clear();
    good = queue_->Begin();
  }
  for (Incoming& incoming : *deliveries) {
    good = good && Enqueue(&incoming);
  }
  good = good && queue_->Commit();
  if (!has_room) {
    TellSometimes(COI_RELAY_LOG_ERROR, "room", kMinute,
                  string("Can't take hand-offs: there is too little space left on the disk of ") +
                      settings_.queue_dir);
  } else if (!good) {
    QueueFailed("take hand-offs");
  } else if (flush) {
    UpdatesWritten(expected);
  }

  for (Incoming& incoming : *deliveries) {
    const bool taken = good && !incoming.full;
    if (!incoming.file.empty()) {
      if (taken) {
        spool_->Remove(incoming.file);
      } else {
        spool_->Postpone(now_ + 10 * kSecond);
      }
    } else if (!good) {
      intake_->Answer(incoming.client, push::WriteReply(false, {kUnavailable}));
    } else if (incoming.full) {
      intake_->Answer(incoming.client, push::WriteReply(false, {"full"}));
    } else {
      vector<string> fields = {"queued"};
      for (const string& id : incoming.gone) {
        fields.push_back("gone=" + id);
      }
      // Who has just gone will put it into the spool; there it is known.
      intake_->Answer(incoming.client, push::WriteReply(true, fields));
    }
    if (good) {
      const auto unready = [this](const QueuedPush& push) {
        const auto origin = origins_.find(push.origin);
        if (origin != origins_.end()) {
          Unready(origin->second.get(), push.user,
                  [&](const Item& item) { return item.push.id == push.id; });
        }
      };
      std::ranges::for_each(incoming.outdated, unready);
      for (const QueuedPush& push : incoming.replaced) {
        unready(push);
        const auto busy = busy_.find(push.id);
        if (busy != busy_.end()) {
          busy->second.replaced = true;
          continue;
        }
        Busy dropped;
        dropped.push = push;
        dropped.user = incoming.handoff.user;
        dropped.accepted_usecs = now_usecs_;
        Drop(dropped, kTooMany);
      }
    }
    if (taken) {
      Accepted(&incoming);
    }
  }
}

// One that isn't known yet has its chance, and one that only refuses has another.
bool Relay::IsFailing(const optional<Endpoint>& endpoint) {
  if (!endpoint) {
    return true;
  }
  const auto found = origins_.find(OriginName(endpoint->origin));
  if (found == origins_.end()) {
    return false;
  }
  const Origin& origin = *found->second;
  return IsSick(origin) || (!origin.proven && origin.failures > 0) ||
         (origin.refused.size() >= kRefusedMax && origin.refused_at > now_ - kMinute);
}

// Too early if the commit fails, but then it does no harm.
void Relay::ExtendReady(const QueuedPush& push, int64_t expires) {
  const auto origin = origins_.find(push.origin);
  if (origin == origins_.end()) {
    return;
  }
  Item* item = origin->second->ready.Find(push.user,
                                          [&](const Item& one) { return one.push.id == push.id; });
  if (item != nullptr) {
    item->push.expires = std::max(item->push.expires, expires);
  }
}

bool Relay::Enqueue(Incoming* incoming) {
  const Handoff& handoff = incoming->handoff;
  incoming->name = Name("handoff", {handoff.user, handoff.id});
  const int64_t user = UserName(handoff.user, incoming->uid);
  bool duplicate = false;
  if (!IsRecent(incoming->name) && !queue_->HasHandoff(incoming->name, &duplicate)) {
    return false;
  }
  duplicate = duplicate || IsRecent(incoming->name);

  // The second half isn't for services that fail: what waits for them must not
  // keep out what others would take.
  const auto limit = static_cast<int64_t>(settings_.queue_limit);
  const bool is_half_full =
      limit != 0 && queue_->count_now() >= (limit + 1) / 2 && queue_->count_now() < limit;
  bool left_out = false;
  auto mail = std::make_shared<Mail>();
  const int64_t ttl = handoff.chat ? settings_.ttl_chat_secs : settings_.ttl_mail_secs;
  const int64_t handoff_id = queue_->NewHandoffId();
  vector<Item> items;
  // Older pushes that now stand for this mail.
  vector<int64_t> extended;
  for (size_t i = 0; i < handoff.subscriptions.size(); ++i) {
    const auto& [id, json] = handoff.subscriptions[i];
    auto subscription = push::ReadStored(json);
    if (!subscription || !subscription->validated) {
      TellSometimes(COI_RELAY_LOG_WARNING, "stored", kHour,
                    "A subscription of " + Printable(handoff.user) +
                        " is damaged or not validated, and gets no push");
      continue;
    }
    Item item;
    item.push.id = handoff_id * kPushesPerHandoff + static_cast<int64_t>(i);
    item.push.user = user;
    item.push.subscription = SubscriptionName(handoff.user, incoming->uid, id, *subscription);
    SubscriptionState state;
    if (!GetSubscription(item.push.subscription, &state)) {
      return false;
    }
    if (IsGone(state, *subscription)) {
      incoming->gone.push_back(id);
      continue;
    }
    if (duplicate) {
      continue;
    }
    item.push.expires = incoming->accepted_usecs / 1000 + ttl * kSecond;
    if (!subscription->token.empty()) {
      // One that waits wakes the device for this mail, too.
      optional<QueuedPush> last;
      if (!queue_->LastOfLine(user, item.push.subscription, &last)) {
        return false;
      }
      if (last && !busy_.contains(last->id)) {
        const int64_t resume = std::min(state.resume.value_or(0), now_ + kMaxDelayMsecs);
        if (!queue_->Extend(last->id, item.push.expires, resume)) {
          return false;
        }
        ExtendReady(*last, item.push.expires);
        extended.push_back(last->id);
        continue;
      }
    }
    auto endpoint = policy_.Check(EndpointOf(*subscription));
    if (is_half_full && IsFailing(endpoint)) {
      left_out = true;
      continue;
    }
    // What isn't allowed has an origin of its own; it may be tomorrow.
    item.endpoint = endpoint ? std::move(*endpoint) : Endpoint();
    item.push.origin = OriginName(item.endpoint.origin);
    if (!state.resume) {
      item.push.next = now_;
    }
    item.subscription_id = id;
    item.subscription = std::move(*subscription);
    item.mail = mail;
    items.push_back(std::move(item));
  }
  if (crypto_failed_) {
    crypto_failed_ = false;
    return false;
  }
  if (left_out) {
    TellSometimes(COI_RELAY_LOG_ERROR, "half full", kMinute,
                  "The queue is half full: " + std::to_string(queue_->count()) +
                      " pushes are waiting, so those to services that fail are refused");
  }
  if (settings_.queue_user_limit != 0) {
    const size_t most = settings_.queue_user_limit;
    items.resize(std::min(items.size(), most - std::min(most, extended.size())));
  }
  if (items.empty()) {
    // A file that stayed would keep out those behind it.
    incoming->full = left_out && incoming->file.empty();
    return true;
  }
  if (settings_.queue_limit != 0 && queue_->count_now() + static_cast<int64_t>(items.size()) >
                                        static_cast<int64_t>(settings_.queue_limit)) {
    incoming->full = true;
    TellSometimes(COI_RELAY_LOG_ERROR, "full", kMinute,
                  "The queue is full: " + std::to_string(queue_->count()) +
                      " pushes are waiting, so a new one is refused");
    return true;
  }

  const string sealed = keys_->storage().Encrypt(incoming->line, std::to_string(handoff_id));
  if (sealed.empty() ||
      !queue_->PutHandoff(handoff_id, incoming->name, incoming->accepted_usecs, sealed)) {
    return false;
  }
  vector<Expected> expected;
  if (!DeleteRefused(user, items, incoming, &expected)) {
    return false;
  }
  for (const Item& item : items) {
    if (!MarkOrigin(item.push.origin) || !queue_->PutPush(item.push)) {
      return false;
    }
  }
  if (!KeepUserLimit(user, extended, incoming, &expected)) {
    return false;
  }
  mail->accepted_usecs = incoming->accepted_usecs;
  mail->size = incoming->line.size();
  incoming->items = std::move(items);
  // Too early if the commit fails, but then it does no harm.
  for (const Expected& one : expected) {
    // Its origin may have been put away, as it had nothing that was due.
    if (!MarkOrigin(one.origin)) {
      return false;
    }
    Expect(one);
  }
  return true;
}

// One of a device token that was refused is of no use beside that of this mail.
bool Relay::DeleteRefused(int64_t user, const vector<Item>& items, Incoming* incoming,
                          vector<Expected>* expected) {
  for (const Item& item : items) {
    if (!item.subscription.token.empty() &&
        !queue_->Refused(user, item.push.subscription, &incoming->outdated)) {
      return false;
    }
  }
  std::erase_if(incoming->outdated,
                [this](const QueuedPush& push) { return busy_.contains(push.id); });
  return std::ranges::all_of(incoming->outdated, [&](const QueuedPush& push) {
    return queue_->DeletePush(push.id, expected, now_);
  });
}

// Deletes the oldest of a user who has too many, but for those that stand for this mail.
bool Relay::KeepUserLimit(int64_t user, const vector<int64_t>& extended, Incoming* incoming,
                          vector<Expected>* expected) {
  const auto limit = static_cast<int64_t>(settings_.queue_user_limit);
  // While all together have no more, none has.
  if (limit == 0 || queue_->count_now() <= limit) {
    return true;
  }
  int64_t count = 0;
  vector<QueuedPush> oldest;
  if (!queue_->CountUser(user, &count)) {
    return false;
  }
  const int64_t over = count - limit;
  if (over <= 0) {
    return true;
  }
  if (!queue_->OldestOfUser(user, over + static_cast<int64_t>(extended.size()), &oldest)) {
    return false;
  }
  for (const QueuedPush& push : oldest) {
    if (static_cast<int64_t>(incoming->replaced.size()) < over &&
        std::ranges::find(extended, push.id) == extended.end()) {
      incoming->replaced.push_back(push);
    }
  }
  return std::ranges::all_of(incoming->replaced, [&](const QueuedPush& push) {
    return queue_->DeletePush(push.id, expected, now_);
  });
}

// Sees to it that the queue remembers this origin, should we end.
bool Relay::MarkOrigin(int64_t id) {
  Origin* origin = Activate(id);
  if (origin == nullptr) {
    // Too many of them; this one gets its turn by the queue.
    optional<OriginState> state;
    if (!queue_->GetOrigin(id, &state)) {
      return false;
    }
    if (state && state->due && *state->due <= std::max(now_, state->resume)) {
      return true;
    }
    OriginState fresh = state.value_or(OriginState{id, 0, 0, 0});
    fresh.due = std::max(now_, fresh.resume);
    poll_at_ = std::min(poll_at_.value_or(*fresh.due), *fresh.due);
    return queue_->PutOrigin(fresh);
  }
  if (origin->marked) {
    return true;
  }
  return queue_->PutOrigin({id, OriginState::kActive, origin->failures, origin->resume});
}

void Relay::AddRecent(int64_t name) {
  if (!recent_.insert(name).second) {
    return;
  }
  recent_order_.push_back(name);
  if (recent_order_.size() > kRecentMax) {
    recent_.erase(recent_order_.front());
    recent_order_.pop_front();
  }
}

// It is in the queue, and the one who asked knows.
void Relay::Accepted(Incoming* incoming) {
  AddRecent(incoming->name);
  if (incoming->items.empty()) {
    return;
  }
  const std::shared_ptr<Mail> mail = incoming->items.front().mail;
  mail->handoff = std::move(incoming->handoff);
  // They are in the items, and take much room.
  mail->handoff.subscriptions.clear();
  for (Item& item : incoming->items) {
    const auto found = origins_.find(item.push.origin);
    if (found == origins_.end()) {
      continue;
    }
    Origin* origin = found->second.get();
    origin->marked = true;
    origin->used = now_;
    if (!item.push.next) {
      continue;
    }
    const bool is_behind = origin->backlog && MayOwn(*origin, item.push.user);
    if (item.endpoint.url.empty() || is_behind || IsSick(*origin) ||
        origin->ready.size() >= kReadyOriginMax ||
        origin->ready.SizeOf(item.push.user) >= kReadyUserMax || ready_ >= kReadyMax ||
        ready_bytes_ + mail->size > kReadyBytesMax) {
      HasDue(origin, item.push.user);
    } else {
      MakeItemReady(origin, std::move(item));
      MakeRunnable(origin);
    }
  }
}

void Relay::RunSpool() {
  vector<Incoming> deliveries;
  for (Spool::File& file : spool_->Take(kSpoolBatch, now_, wall_usecs_ / 1000)) {
    Incoming incoming;
    const char* error = nullptr;
    if (!push::ParseHandoff(file.line, &incoming.handoff, &error) ||
        incoming.handoff.kind != HandoffKind::kDeliver) {
      TellSometimes(COI_RELAY_LOG_WARNING, "bad-spool", kMinute,
                    string("A file in the spool is not a hand-off: ") +
                        (error == nullptr ? "it is another request" : error));
      spool_->Remove(file.name);
      continue;
    }
    incoming.file = std::move(file.name);
    incoming.line = std::move(file.line);
    incoming.uid = file.uid;
    incoming.accepted_usecs =
        std::clamp<int64_t>(file.written_usecs - queue_->skew() * 1000, 0, now_usecs_);
    deliveries.push_back(std::move(incoming));
  }
  if (!deliveries.empty()) {
    Deliver(&deliveries);
  }
}

// -- registrations --

void Relay::Register(uint64_t client, unsigned int uid, const Handoff& handoff) {
  const auto refuse = [&](const char* why) {
    intake_->Answer(client, push::WriteReply(false, {why}));
  };
  if (handoff.subscriptions.size() != 1) {
    refuse("bad-request");
    return;
  }
  const auto& [id, json] = handoff.subscriptions.front();
  const auto subscription = push::ReadStored(json);
  if (!subscription || subscription->validated || subscription->validation.empty()) {
    refuse("bad-request");
    return;
  }
  const int64_t user = UserName(handoff.user, uid);
  const auto of_user = std::ranges::count_if(
      registrations_, [&](const auto& entry) { return entry.second.user == user; });
  if (registrations_.size() >= kRegistrationsMax || of_user >= kRegistrationsUserMax ||
      !throttle_.Take(user, steady_)) {
    refuse("busy");
    return;
  }
  const auto fail = [&](const char* why) {
    RegistrationFailed(user, handoff.user);
    refuse(why);
  };
  // Before the difference, which might be too large for its type.
  if (subscription->expires <= wall_usecs_ / 1000000) {
    fail("refused");
    return;
  }
  const int64_t ttl = subscription->expires - wall_usecs_ / 1000000;
  if (!encrypter_.IsPublicKey(subscription->p256dh)) {
    fail("bad-key");
    return;
  }
  const auto endpoint = policy_.Check(EndpointOf(*subscription));
  if (!endpoint) {
    fail("not-allowed");
    return;
  }
  const int64_t origin = OriginName(endpoint->origin);
  const auto same = std::count_if(registrations_.begin(), registrations_.end(),
                                  [&](const auto& entry) { return entry.second.origin == origin; });
  if (same >= kRegistrationsOriginMax) {
    refuse("busy");
    return;
  }
  // New subscriptions are signed with the current key, and the client is told
  // which that is.
  Subscription with_key = *subscription;
  with_key.vapid.clear();
  PushRequest request;
  request.id = kFirstRegistration + next_registration_++;
  request.endpoint = *endpoint;
  request.authorization = Authorization(with_key, *endpoint);
  request.ttl_secs = static_cast<unsigned int>(std::min(ttl, kServiceTtlMaxSecs));
  request.urgency = Urgency::kHigh;
  request.topic = util::EncodeBase64Url(
      keys_->storage()
          .Mac("validation " + std::to_string(handoff.user.size()) + ':' + handoff.user + ' ' + id)
          .substr(0, kTopicSize));
  request.validation = "true";
  if (request.authorization.empty() ||
      !encrypter_.Encrypt(subscription->p256dh, subscription->auth,
                          push::BuildValidation(subscription->validation), &request.body)) {
    TellSometimes(COI_RELAY_LOG_ERROR, "encrypt", kMinute, "Can't encrypt or sign a push");
    refuse(kUnavailable);
    return;
  }
  Registration registration;
  registration.client = client;
  registration.user = user;
  registration.subscription = SubscriptionName(handoff.user, uid, id, *subscription);
  registration.origin = origin;
  registration.deadline = steady_ + settings_.register_timeout_msecs;
  registration.started_usecs = now_usecs_;
  registration.user_name = handoff.user;
  registration.subscription_id = id;
  registration.origin_text = endpoint->origin;
  registration.vapid = keys_->VapidId("");
  registrations_.emplace(request.id, std::move(registration));
  intake_->Watch(client);
  sender_->Start(std::move(request));
  run_sender_ = true;
}

void Relay::RegistrationFailed(int64_t user, const string& name) {
  const int64_t locked = throttle_.Failed(user, steady_);
  if (locked != 0) {
    TellSometimes(COI_RELAY_LOG_INFO, "locked", kMinute,
                  "Push subscriptions of " + Printable(name) + " keep failing; none is taken for " +
                      std::to_string(locked / kMinute) + " min");
  }
}

void Relay::FinishRegistration(const SendResult& result) {
  const auto found = registrations_.find(result.id);
  if (found == registrations_.end()) {
    return;
  }
  const Registration registration = std::move(found->second);
  registrations_.erase(found);
  const Verdict verdict = Judge(result, true);
  const bool good = verdict == Verdict::kDelivered;
  bool noted = true;

  Busy push;
  push.user = registration.user_name;
  push.subscription_id = registration.subscription_id;
  push.origin_text = registration.origin_text;
  push.accepted_usecs = registration.started_usecs;
  push.push.attempts = 1;
  Emit(good ? COI_RELAY_DELIVERED : COI_RELAY_DROPPED, push,
       static_cast<unsigned int>(result.http_status), good ? "" : Problem(result), true);

  if (good) {
    throttle_.Succeeded(registration.user);
    // What the service says of an older request no longer holds.
    for (auto& [id, busy] : busy_) {
      busy.outdated = busy.outdated || busy.push.subscription == registration.subscription;
    }
    SubscriptionState state;
    const bool may_be_gone = !GetSubscription(registration.subscription, &state) || state.gone;
    Update update;
    update.kind = Update::kReturned;
    update.subscription = registration.subscription;
    Note(update);
    // Who is told so must not be called gone after a crash.
    noted = Flush() || !may_be_gone;
  } else if (registration.client != 0) {
    RegistrationFailed(registration.user, registration.user_name);
  }
  if (registration.client == 0) {
    return;
  }
  string reply;
  if (!noted) {
    reply = push::WriteReply(false, {kUnavailable});
  } else if (good) {
    reply = push::WriteReply(true, {"accepted", "vapid=" + registration.vapid});
  } else if (result.status == SendStatus::kNotAllowed) {
    reply = push::WriteReply(false, {"not-allowed"});
  } else if (verdict == Verdict::kRetry) {
    reply = push::WriteReply(false, {"unreachable"});
  } else {
    reply = push::WriteReply(false, {"refused"});
  }
  intake_->Answer(registration.client, reply);
}

}  // namespace coi::relay

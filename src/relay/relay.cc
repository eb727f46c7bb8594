// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/relay.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "push/vapid.h"

namespace coi::relay {
namespace {

using push::Subscription;
using std::optional;
using std::string;
using std::string_view;
using std::vector;

// What an event of our epoll is about; clients are numbered from the last one.
enum : uint64_t { kTimerTag, kWorkTag, kSenderTag, kSpoolTag, kFirstClient };

constexpr int kEvents = 512;
// What was sent is noted together with what comes in, or in portions, or once
// nothing else is to be done: a transaction for each push costs more than the
// push. What isn't noted when the process is killed is sent again.
constexpr size_t kUpdatesMax = 256;
constexpr int64_t kUpdatesMsecs = 5;
// While so many wait, there is more to be gained.
constexpr size_t kReadyMany = 512;
constexpr int64_t kUpdatesMsecsMany = 20;
constexpr size_t kOriginNamesMax = 4096;
constexpr int64_t kGoneMsecs = kHour * 24 * 90;
constexpr int64_t kGoneMax = 100000;
constexpr std::chrono::milliseconds kLeaveStep{20};

bool IsSameDirectory(const char* a, const char* b) {
  struct stat first {};
  struct stat second {};
  return string_view(a) == b || (stat(a, &first) == 0 && stat(b, &second) == 0 &&
                                 first.st_dev == second.st_dev && first.st_ino == second.st_ino);
}

}  // namespace

// -- start and end --

Relay::Relay(const coi_relay_settings& settings, const coi_relay_callbacks& callbacks, Parts parts)
    : settings_(settings),
      callbacks_(callbacks),
      parts_(std::move(parts)),
      log_([this](enum coi_relay_log level, const string& text) { Tell(level, text); }),
      throttle_(settings.register_limit) {
  settings_.in_flight_limit = std::max(settings_.in_flight_limit, 1U);
  settings_.in_flight_origin_limit = std::max(settings_.in_flight_origin_limit, 1U);
}

std::unique_ptr<Relay> Relay::Open(const coi_relay_settings& settings,
                                   const coi_relay_callbacks& callbacks, Parts parts,
                                   string* error) {
  // The constructor is private.
  std::unique_ptr<Relay> relay(
      new Relay(settings, callbacks, std::move(parts)));  // NOLINT(modernize-make-unique)
  if (!relay->Start(error)) {
    return nullptr;
  }
  return relay;
}

bool Relay::Start(string* error) {
  wall_usecs_ = parts_.clock->WallUsecs();
  steady_usecs_ = parts_.clock->SteadyUsecs();
  uint32_t seed = parts_.seed;
  if (seed != 0 || getrandom(&seed, sizeof(seed), 0) == static_cast<ssize_t>(sizeof(seed))) {
    random_.seed(seed);
  }

  if (!SetSubject(error)) {
    return false;
  }
  if (settings_.ttl_chat_secs == 0 || settings_.ttl_mail_secs == 0) {
    *error = "coi_push_ttl is 0, so that no push would be sent";
    return false;
  }
  // The spool removes what it doesn't know, and so keys and queue.
  if (IsSameDirectory(settings_.key_dir, settings_.queue_dir) ||
      IsSameDirectory(settings_.key_dir, settings_.spool_dir) ||
      IsSameDirectory(settings_.queue_dir, settings_.spool_dir)) {
    *error =
        "coi_push_key_dir, coi_push_queue_dir and coi_push_spool_dir must be three "
        "directories, but two are the same";
    return false;
  }
  if (!policy_.Set(settings_.hosts_allowed, settings_.hosts_denied, settings_.hosts_http,
                   settings_.networks_allowed, error)) {
    return false;
  }
  device_token_gateway_ = settings_.device_token_gateway;
  if (!device_token_gateway_.empty() && !policy_.Check(device_token_gateway_)) {
    *error = "coi_push_deltachat_gateway: " + Printable(device_token_gateway_) +
             " is no URL that pushes may be sent to";
    return false;
  }
  keys_ = Keys::Load(settings_.key_dir, log_, error);
  if (!keys_) {
    return false;
  }
  queue_ = Queue::Open({settings_.queue_dir, {}, parts_.queue_max_pages}, wall_usecs_ / 1000, log_,
                       error);
  if (queue_ == nullptr) {
    return false;
  }
  ReadClock();
  spool_ = Spool::Open(settings_.spool_dir, &keys_->storage(), log_, error);
  if (spool_ == nullptr) {
    return false;
  }
  SenderLimits limits;
  limits.connections = settings_.in_flight_limit + kRegistrationsMax;
  limits.connections_origin = settings_.connections_origin_limit;
  limits.request_timeout_msecs = settings_.request_timeout_msecs;
  limits.connect_timeout_msecs = settings_.connect_timeout_msecs;
  limits.ca_file = settings_.ssl_ca_file;
  sender_ = parts_.make_sender(
      limits, policy_, [this](const SendResult& result) { results_.push_back(result); }, error);
  if (sender_ == nullptr) {
    return false;
  }

  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  timer_ = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
  work_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (epoll_ == -1 || timer_ == -1 || work_ == -1) {
    *error = string("Can't make an epoll, a timer or an event: ") + std::strerror(errno);
    return false;
  }
  const std::pair<uint64_t, int> watched[] = {{kTimerTag, timer_},
                                              {kWorkTag, work_},
                                              {kSenderTag, sender_->fd()},
                                              {kSpoolTag, spool_->fd()}};
  for (const auto& [tag, fd] : watched) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = tag;
    if (fd != -1 && epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
      *error = string("Can't add to an epoll: ") + std::strerror(errno);
      return false;
    }
  }
  intake_ = std::make_unique<Intake>(epoll_, kFirstClient, [this] {
    if (callbacks_.client_closed != nullptr) {
      callbacks_.client_closed(callbacks_.context);
    }
  });
  housekeep_at_ = now_ + kMinute;
  work_left_ = true;
  Arm();
  return true;
}

bool Relay::SetSubject(string* error) {
  const bool is_default = *settings_.vapid_subject == '\0';
  vapid_subject_ = is_default ? settings_.vapid_subject_default : settings_.vapid_subject;
  const char* problem = push::VapidSubjectProblem(vapid_subject_);
  if (problem == nullptr) {
    return true;
  }
  *error = "The contact for push services (`sub` of VAPID) is wrong: " + string(problem);
  if (is_default) {
    // Of a machine without a domain. Many services do without it.
    Tell(COI_RELAY_LOG_WARNING,
         *error +
             ". None is sent, so some push services, like Apple's, refuse all pushes. "
             "Set coi_push_vapid_subject.");
    vapid_subject_.clear();
  }
  return is_default;
}

Relay::~Relay() {
  sender_.reset();
  intake_.reset();
  for (const int fd : {timer_, work_, epoll_}) {
    if (fd != -1) {
      close(fd);
    }
  }
}

void Relay::Close() {
  if (closing_) {
    return;
  }
  // What has come in full is taken; others go to the spool.
  closing_ = true;
  // It may have been set since the last round.
  ReadClock();
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + parts_.leave;
  while (true) {
    ReadClients();
    sender_->Run();
    TakeResults();
    if (in_flight_ + registrations_.size() == 0 || Clock::now() >= end) {
      break;
    }
    pollfd ready{sender_->fd(), POLLIN, 0};
    poll(&ready, 1, static_cast<int>(kLeaveStep.count()));
    ReadClock();
  }
  Flush();
  if (queue_->skew_is_new() && !(queue_->Begin() && queue_->Commit())) {
    QueueFailed("note that the clock was set");
  }
  sender_.reset();
  intake_.reset();
}

void Relay::GetStatus(coi_relay_status* status) const {
  *status = {};
  status->delivered = outcomes_[COI_RELAY_DELIVERED];
  status->deferred = outcomes_[COI_RELAY_DEFERRED];
  status->dropped = outcomes_[COI_RELAY_DROPPED];
  status->gone = outcomes_[COI_RELAY_GONE];
  status->queued = static_cast<uint64_t>(std::max<int64_t>(queue_->count(), 0));
  status->in_flight = in_flight_ + registrations_.size();
  status->clients = intake_ == nullptr ? 0 : intake_->size();
}

// -- telling --

void Relay::Tell(enum coi_relay_log level, const string& text) {
  if (callbacks_.log != nullptr) {
    callbacks_.log(callbacks_.context, level, Printable(text, 1000).c_str());
  }
}

void Relay::TellSometimes(enum coi_relay_log level, const string& name, int64_t interval,
                          const string& text) {
  uint64_t left_out = 0;
  if (log_limit_.Allows(name, now_, interval, &left_out)) {
    Tell(level, left_out == 0 ? text
                              : text + " (and " + std::to_string(left_out) +
                                    " more like this since the last such line)");
  }
}

void Relay::Emit(enum coi_relay_outcome outcome, const Busy& push, unsigned int status,
                 string_view error, bool validation) {
  ++outcomes_[outcome];
  if (push.origin != nullptr) {
    ++push.origin->outcomes[outcome];
  }
  if (callbacks_.event == nullptr) {
    return;
  }
  const string user = Printable(push.user);
  const string subscription = Printable(push.subscription_id);
  const string origin = Printable(push.origin_text);
  const string text = Printable(error);
  coi_relay_event event{};
  event.outcome = outcome;
  event.user = user.c_str();
  event.subscription = subscription.c_str();
  event.origin = origin.c_str();
  event.status = status;
  event.error = text.c_str();
  event.attempt = static_cast<unsigned int>(push.push.attempts);
  event.age_usecs = static_cast<uint64_t>(std::max<int64_t>(now_usecs_ - push.accepted_usecs, 0));
  event.validation = validation;
  callbacks_.event(callbacks_.context, &event);
}

void Relay::Drop(const Busy& push, string_view why) {
  Emit(COI_RELAY_DROPPED, push, 0, why, false);
  TellSometimes(COI_RELAY_LOG_WARNING, "drop " + string(why), kMinute,
                "A push" + (push.origin_text.empty() ? string() : " to " + push.origin_text) +
                    " is dropped: " + string(why));
}

void Relay::NotTaken(const Busy& push, unsigned int status, string_view error) {
  if (push.replaced) {
    Drop(push, kTooMany);
  } else {
    Emit(COI_RELAY_DEFERRED, push, status, error, false);
  }
}

// A number that means nothing to others.
int64_t Relay::Name(string_view kind, std::initializer_list<string_view> parts) {
  string text(kind);
  for (const string_view part : parts) {
    text += ' ';
    text += std::to_string(part.size());
    text += ':';
    text += part;
  }
  const string mac = keys_->storage().Mac(text);
  int64_t number = 0;
  if (mac.size() < sizeof(number)) {
    crypto_failed_ = true;
    return 0;
  }
  for (size_t i = 0; i < sizeof(number); ++i) {
    number = static_cast<int64_t>(static_cast<uint64_t>(number) << 8U |
                                  static_cast<unsigned char>(mac[i]));
  }
  return number;
}

// Who asks may call itself by any name. What one does in a user's name is held
// against the user only where they are the same to the kernel.
int64_t Relay::UserName(const string& user, unsigned int uid) {
  return Name("user", {user, std::to_string(uid)});
}

// They are few.
int64_t Relay::OriginName(const string& origin) {
  const auto known = origin_names_.find(origin);
  if (known != origin_names_.end()) {
    return known->second;
  }
  const int64_t name = Name("origin", {origin});
  if (origin_names_.size() >= kOriginNamesMax) {
    origin_names_.clear();
  }
  if (!crypto_failed_) {
    origin_names_.emplace(origin, name);
  }
  return name;
}

const string& Relay::EndpointOf(const Subscription& subscription) const {
  return subscription.token.empty() ? subscription.endpoint : device_token_gateway_;
}

// With the endpoint, so that what is known of a subscription isn't held against
// a later one of the same id.
int64_t Relay::SubscriptionName(const string& user, unsigned int uid, const string& id,
                                const Subscription& subscription) {
  // A device token doesn't register, but is set again.
  const string set =
      subscription.token.empty() ? string() : ' ' + std::to_string(subscription.created);
  return Name("subscription", {user, std::to_string(uid), id, EndpointOf(subscription) + set});
}

// -- a round --

void Relay::AddClient(int fd) {
  if (closing_) {
    close(fd);
    if (callbacks_.client_closed != nullptr) {
      callbacks_.client_closed(callbacks_.context);
    }
    return;
  }
  steady_ = parts_.clock->SteadyUsecs() / 1000;
  intake_->Add(fd, steady_);
  Arm();
}

void Relay::Run() {
  if (closing_) {
    return;
  }
  ReadClock();
  work_left_ = false;

  bool quiet = !ReadClients();
  if (spool_->due() <= now_) {
    RunSpool();
  }
  while (!wakes_.empty() && wakes_.begin()->first <= now_) {
    Origin* origin = wakes_.begin()->second;
    SetWake(origin, 0);
    HasDue(origin);
  }
  PollOrigins();
  // Nobody who waits for an answer waits for these.
  if (StartSome() || run_sender_) {
    run_sender_ = false;
    sender_->Run();
    quiet = !TakeResults() && quiet;
  }
  const int64_t wait = ready_ >= kReadyMany ? kUpdatesMsecsMany : kUpdatesMsecs;
  if (quiet || updates_.size() >= kUpdatesMax || now_ - updates_since_ >= wait) {
    Flush();
  } else if (!updates_.empty() && retry_queue_at_ <= now_) {
    work_left_ = true;
  }
  MakeStatus();
  // Validations that the service takes too long for.
  for (auto& [id, registration] : registrations_) {
    if (registration.client != 0 && registration.deadline <= steady_) {
      intake_->Answer(registration.client, push::WriteReply(false, {"unreachable"}));
      registration.client = 0;
      RegistrationFailed(registration.user, registration.user_name);
    }
  }
  if (housekeep_at_ <= now_) {
    Housekeep();
  }
  // What has come to an end lets others begin.
  work_left_ = work_left_ || HasRunnable();
  Arm();
}

// Returns whether somebody has asked for something.
bool Relay::ReadClients() {
  epoll_event events[kEvents];
  const int count = epoll_wait(epoll_, events, kEvents, 0);
  for (int i = 0; i < count; ++i) {
    const uint64_t tag = events[i].data.u64;
    if (tag == kTimerTag) {
      uint64_t times = 0;
      if (read(timer_, &times, sizeof(times)) > 0) {
        armed_ = 0;
      }
    } else if (tag == kWorkTag) {
      // Arm() resets it.
    } else if (tag == kSenderTag) {
      run_sender_ = true;
    } else if (tag == kSpoolTag) {
      spool_->Changed();
    } else {
      intake_->Ready(tag, &requests_);
    }
  }
  const bool asked = !requests_.empty();
  vector<Incoming> deliveries;
  for (Intake::Request& request : requests_) {
    Handle(std::move(request), &deliveries);
  }
  requests_.clear();
  if (!deliveries.empty()) {
    Deliver(&deliveries);
  }
  return asked;
}

// Returns whether the sender had any.
bool Relay::TakeResults() {
  const vector<SendResult> results = std::move(results_);
  results_.clear();
  for (const SendResult& result : results) {
    if (result.id >= kFirstRegistration) {
      FinishRegistration(result);
    } else {
      Finish(result);
    }
  }
  return !results.empty();
}

// Where the time of day is set, the queue's clock goes on as before. A step of less
// than a minute does no harm.
void Relay::ReadClock() {
  const int64_t wall = parts_.clock->WallUsecs();
  const int64_t steady = parts_.clock->SteadyUsecs();
  const int64_t step = ((wall - wall_usecs_) - (steady - steady_usecs_)) / 1000;
  wall_usecs_ = wall;
  steady_usecs_ = steady;
  steady_ = steady / 1000;
  if (std::abs(step) > kMinute) {
    queue_->SetSkew(queue_->skew() + step);
    // writes it
    housekeep_at_ = 0;
    Tell(COI_RELAY_LOG_INFO, "The time of day was set by " + std::to_string(step / kSecond) +
                                 " seconds. It makes no push wait longer, or expire");
  }
  now_usecs_ = wall - queue_->skew() * 1000;
  now_ = now_usecs_ / 1000;
}

void Relay::Housekeep() {
  housekeep_at_ = now_ + 10 * kMinute;
  bool more = false;
  if (queue_->Begin() && queue_->PurgeGone(now_ - kGoneMsecs, kGoneMax, &more) &&
      queue_->Commit()) {
    if (more) {
      housekeep_at_ = now_ + kSecond;
    } else {
      queue_->Shrink();
    }
  } else {
    QueueFailed("clean up");
  }
}

void Relay::Arm() {
  // The earliest, as a delay.
  int64_t delay = kHour;
  const auto by_wall = [&](int64_t at) {
    delay = std::min(delay, std::max<int64_t>(at - now_, 0));
  };
  const auto by_steady = [&](int64_t at) {
    delay = std::min(delay, std::max<int64_t>(at - steady_, 0));
  };
  if (const auto deadline = intake_->Expire(steady_)) {
    by_steady(*deadline);
  }
  for (const auto& [id, registration] : registrations_) {
    if (registration.client != 0) {
      by_steady(registration.deadline);
    }
  }
  if (!wakes_.empty()) {
    by_wall(wakes_.begin()->first);
  }
  if (poll_at_) {
    by_wall(*poll_at_);
  }
  if (!updates_.empty() && retry_queue_at_ > now_) {
    by_wall(retry_queue_at_);
  }
  by_wall(spool_->due());
  by_wall(housekeep_at_);
  if (work_left_ != work_told_) {
    const uint64_t one = 1;
    uint64_t value = 0;
    (void)!(work_left_ ? write(work_, &one, sizeof(one)) : read(work_, &value, sizeof(value)));
    work_told_ = work_left_;
  }
  // A timer that comes too early does no harm, and setting it costs.
  const int64_t at = steady_ + delay;
  if (armed_ != 0 && armed_ <= at && armed_ > steady_) {
    return;
  }
  armed_ = at;
  itimerspec timer{};
  timer.it_value.tv_sec = delay / 1000;
  timer.it_value.tv_nsec = delay % 1000 * 1000000 + 1;
  timerfd_settime(timer_, 0, &timer, nullptr);
}

// -- queue --

void Relay::QueueFailed(const char* what) {
  TellSometimes(COI_RELAY_LOG_ERROR, "queue", kMinute,
                string("Can't ") + what + ": " +
                    (queue_->error().empty() ? "libcrypto failed" : queue_->error()));
  queue_->Rollback();
  if (!queue_->damaged()) {
    // It may take long where it does no good.
    if (queue_->is_full() && checkpoint_at_ <= now_) {
      checkpoint_at_ = now_ + kSecond;
      queue_->Checkpoint();
    }
    return;
  }
  string error;
  if (!queue_->Restart(wall_usecs_ / 1000, log_, &error)) {
    TellSometimes(COI_RELAY_LOG_ERROR, "restart", kMinute, "There is no queue: " + error);
    return;
  }
  // Nothing of what was known is there any more.
  updates_.clear();
  last_mail_.reset();
  std::erase_if(busy_, [](auto& entry) {
    if (entry.second.done) {
      --entry.second.origin->busy;
    }
    return entry.second.done;
  });
  for (auto& [id, origin] : origins_) {
    UnreadyAll(origin.get());
    origin->backlog = false;
    origin->owners.clear();
    origin->marked = false;
  }
}

bool Relay::Flush() {
  if (updates_.empty()) {
    return true;
  }
  if (retry_queue_at_ > now_ && !closing_) {
    return false;
  }
  vector<Expected> expected;
  if (!queue_->Begin() || !ApplyUpdates(&expected) || !queue_->Commit()) {
    // Kept in busy_, so that nothing is sent again because of it.
    retry_queue_at_ = now_ + kSecond;
    QueueFailed("note what was sent");
    return false;
  }
  UpdatesWritten(expected);
  return true;
}

bool Relay::ApplyUpdates(vector<Expected>* expected) {
  return std::ranges::all_of(updates_,
                             [&](const Update& update) { return Apply(update, expected); }) &&
         std::ranges::all_of(*expected,
                             [&](const Expected& one) { return MarkOrigin(one.origin); });
}

void Relay::UpdatesWritten(const vector<Expected>& expected) {
  for (const Update& update : updates_) {
    const auto busy = busy_.find(update.id);
    if (busy != busy_.end() && busy->second.done) {
      --busy->second.origin->busy;
      busy_.erase(busy);
    }
  }
  updates_.clear();
  for (const Expected& one : expected) {
    Expect(one);
    const auto origin = origins_.find(one.origin);
    if (origin != origins_.end()) {
      origin->second->marked = true;
    }
  }
}

void Relay::Note(const Update& update) {
  if (updates_.empty()) {
    updates_since_ = now_;
  }
  updates_.push_back(update);
  updates_.back().last_handoff = queue_->last_handoff();
}

// As it is once all is written.
bool Relay::GetSubscription(int64_t id, SubscriptionState* state) {
  if (!queue_->GetSubscription(id, state)) {
    return false;
  }
  for (const Update& update : updates_) {
    if (update.subscription == id && update.kind == Update::kGone) {
      state->gone = now_;
    } else if (update.subscription == id && update.kind == Update::kReturned) {
      state->gone.reset();
    }
  }
  return true;
}

// One that was made since is another one, by way of another node. Of a time that is yet
// to come nothing is believed; the clocks of nodes may differ.
bool Relay::IsGone(const SubscriptionState& state, const Subscription& subscription) const {
  const int64_t created = subscription.created * kSecond - queue_->skew();
  return state.gone &&
         (!subscription.token.empty() || created <= *state.gone || created > now_ + kHour);
}

bool Relay::Apply(const Update& update, vector<Expected>* expected) {
  SubscriptionState state;
  switch (update.kind) {
    case Update::kDelete:
      return queue_->DeletePush(update.id, expected, now_);
    case Update::kGone:
      if (!queue_->GetSubscription(update.subscription, &state)) {
        return false;
      }
      state.gone = now_;
      if (!queue_->PutSubscription(update.subscription, state)) {
        return false;
      }
      [[fallthrough]];
    case Update::kForget:
      return queue_->DeleteSubscription(update.user, update.subscription, update.last_handoff,
                                        expected, now_);
    case Update::kReturned:
      if (!queue_->GetSubscription(update.subscription, &state)) {
        return false;
      }
      if (!state.gone) {
        return true;
      }
      state.gone.reset();
      return queue_->PutSubscription(update.subscription, state);
    case Update::kHold:
      return queue_->Hold(update.id, update.user, update.subscription, update.next, update.attempts,
                          expected, now_);
    case Update::kDefer:
      return queue_->Defer(update.id, update.next, update.attempts, update.flags, expected, now_);
    case Update::kMove: {
      optional<OriginState> origin;
      if (!queue_->GetOrigin(update.origin, &origin) ||
          (!origin && !queue_->PutOrigin({update.origin, now_, 0, 0}))) {
        return false;
      }
      expected->push_back({update.origin, now_});
      return queue_->MoveToOrigin(update.id, update.origin, now_);
    }
    case Update::kOrigin:
      return queue_->PutOrigin({update.origin, OriginState::kActive, update.failures, update.next});
  }
  return true;
}

void Relay::Expect(const Expected& expected) {
  Origin* origin = Activate(expected.origin);
  if (origin == nullptr) {
    poll_at_ = std::min(poll_at_.value_or(expected.next), expected.next);
    return;
  }
  if (expected.next <= now_) {
    HasDue(origin);
  } else if (origin->wake == 0 || expected.next < origin->wake) {
    SetWake(origin, expected.next);
  }
}

}  // namespace coi::relay

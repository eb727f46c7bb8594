// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/relay.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "push/payload.h"
#include "push/vapid.h"
#include "relay/retry.h"
#include "util/base64.h"

namespace coi::relay {
namespace {

using push::Handoff;
using push::HandoffKind;
using push::Subscription;
using std::optional;
using std::string;
using std::string_view;
using std::vector;

// What an event of our epoll is about; clients are numbered from the last one.
enum : uint64_t { kTimerTag, kWorkTag, kSenderTag, kSpoolTag, kFirstClient };

constexpr int kEvents = 512;
constexpr size_t kSpoolBatch = 32;
// For how long one Run() may be busy with making requests: clients wait.
constexpr int64_t kSendUsecs = 2000;
constexpr unsigned int kSendCount = 64;

constexpr size_t kReadyMax = 4096;
constexpr size_t kReadyBytesMax = size_t{16} << 20U;
// Most mail goes to a handful of push services. What doesn't fit is read back,
// which costs as much again as taking it.
constexpr size_t kReadyOriginMax = 512;
constexpr int64_t kLoadCount = 32;
// What was sent is noted together with what comes in, or in portions, or once
// nothing else is to be done: a transaction for each push costs more than the
// push. What isn't noted when the process is killed is sent again.
constexpr size_t kUpdatesMax = 64;
constexpr int64_t kUpdatesMsecs = 5;
constexpr size_t kOriginNamesMax = 4096;
constexpr size_t kOriginsMax = 4096;
constexpr int64_t kPollCount = 64;
constexpr unsigned int kFirstWindow = 4;
// Points of failure: the third one that can't be reached is the last straw, or
// the ninth answer that says so itself.
constexpr int64_t kSick = 9;
constexpr int64_t kUnreachablePoints = 3;

constexpr uint64_t kFirstRegistration = uint64_t{1} << 62U;
constexpr size_t kRegistrationsMax = 64;
constexpr int kRegistrationsOriginMax = 8;

constexpr size_t kRecentMax = 32768;
constexpr size_t kTokensMax = 1024;
constexpr int64_t kTokenSecs = int64_t{12} * 3600;
constexpr size_t kTopicSize = 24;

constexpr int64_t kSecond = 1000;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kGoneMsecs = kHour * 24 * 90;

constexpr const char* kUnavailable = "unavailable";

string Problem(const SendResult& result) {
  if (result.status == SendStatus::kAnswered) {
    return "HTTP " + std::to_string(result.http_status);
  }
  return result.error.empty() ? "unreachable" : result.error;
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
  uint32_t seed = 0;
  if (getrandom(&seed, sizeof(seed), 0) == static_cast<ssize_t>(sizeof(seed))) {
    random_.seed(seed);
  }

  if (!SetSubject(error)) {
    return false;
  }
  if (string_view(settings_.key_dir) == settings_.queue_dir) {
    *error = "The keys and the queue must not be in the same directory";
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
  ReadClients();
  sender_->Run();
  TakeResults();
  Flush();
  sender_.reset();
  intake_.reset();
}

void Relay::GetStatus(coi_relay_status* status) const {
  *status = status_;
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
  switch (outcome) {
    case COI_RELAY_DELIVERED:
      ++status_.delivered;
      break;
    case COI_RELAY_DEFERRED:
      ++status_.deferred;
      break;
    case COI_RELAY_DROPPED:
      ++status_.dropped;
      break;
    case COI_RELAY_GONE:
      ++status_.gone;
      break;
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
    origin->backlog = true;
    MakeRunnable(origin);
  }
  PollOrigins();
  // Nobody who waits for an answer waits for these.
  if (StartSome() || run_sender_) {
    run_sender_ = false;
    sender_->Run();
    quiet = !TakeResults() && quiet;
  }
  if (quiet || updates_.size() >= kUpdatesMax || now_ - updates_since_ >= kUpdatesMsecs) {
    Flush();
  } else if (!updates_.empty() && retry_queue_at_ <= now_) {
    work_left_ = true;
  }
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
  if (queue_->Begin() && queue_->PurgeGone(now_ - kGoneMsecs) && queue_->Commit()) {
    queue_->Shrink();
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
      Unready(origin->second.get(),
              [&](const Item& item) { return item.push.subscription == update.subscription; });
    }
  }
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
    if (!queue_->GetSubscription(SubscriptionName(handoff.user, uid, id, *subscription), &state)) {
      QueueFailed("look up subscriptions");
      intake_->Answer(client, push::WriteReply(false, {kUnavailable}));
      return;
    }
    if (state.gone) {
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
      for (const QueuedPush& push : incoming.replaced) {
        const auto origin = origins_.find(push.origin);
        if (origin != origins_.end()) {
          Unready(origin->second.get(), [&](const Item& item) { return item.push.id == push.id; });
        }
        Busy dropped;
        dropped.push = push;
        dropped.user = incoming.handoff.user;
        dropped.accepted_usecs = now_usecs_;
        if (!busy_.contains(push.id)) {
          Drop(dropped, "the user has too many");
        }
      }
    }
    if (taken) {
      Accepted(&incoming);
    }
  }
}

// One that isn't known yet has its chance.
bool Relay::IsFailing(const optional<Endpoint>& endpoint) {
  if (!endpoint) {
    return true;
  }
  const auto origin = origins_.find(OriginName(endpoint->origin));
  return origin != origins_.end() &&
         (IsSick(*origin->second) || (!origin->second->proven && origin->second->failures > 0));
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
  for (size_t i = 0; i < handoff.subscriptions.size(); ++i) {
    const auto& [id, json] = handoff.subscriptions[i];
    auto subscription = push::ReadStored(json);
    if (!subscription || !subscription->validated || static_cast<int64_t>(i) >= kPushesPerHandoff) {
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
    if (!queue_->GetSubscription(item.push.subscription, &state)) {
      return false;
    }
    if (state.gone) {
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
        if (!queue_->Extend(last->id, item.push.expires)) {
          return false;
        }
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
  if (items.empty()) {
    // A file that stayed would keep out those behind it.
    incoming->full = left_out && incoming->file.empty();
    return true;
  }
  if (settings_.queue_user_limit != 0 && items.size() > settings_.queue_user_limit) {
    items.resize(settings_.queue_user_limit);
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
  for (const Item& item : items) {
    if (!MarkOrigin(item.push.origin) || !queue_->PutPush(item.push)) {
      return false;
    }
  }
  // While all together have no more, none has.
  if (settings_.queue_user_limit != 0 &&
      queue_->count_now() > static_cast<int64_t>(settings_.queue_user_limit)) {
    int64_t count = 0;
    if (!queue_->CountUser(user, &count)) {
      return false;
    }
    const int64_t over = count - static_cast<int64_t>(settings_.queue_user_limit);
    if (over > 0 && !queue_->OldestOfUser(user, over, &incoming->replaced)) {
      return false;
    }
    for (const QueuedPush& push : incoming->replaced) {
      if (!queue_->DeletePush(push.id, &expected, now_)) {
        return false;
      }
    }
  }
  mail->accepted_usecs = incoming->accepted_usecs;
  mail->size = incoming->line.size();
  incoming->items = std::move(items);
  // Too early if the commit fails, but then it does no harm.
  for (const Expected& one : expected) {
    Expect(one);
  }
  return true;
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
    if (item.endpoint.url.empty() || origin->backlog || IsSick(*origin) ||
        origin->ready.size() >= kReadyOriginMax || ready_ >= kReadyMax ||
        ready_bytes_ + mail->size > kReadyBytesMax) {
      origin->backlog = true;
    } else {
      ++ready_;
      ready_bytes_ += mail->size;
      origin->ready.push_back(std::move(item));
    }
    MakeRunnable(origin);
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
  if (registrations_.size() >= kRegistrationsMax || !throttle_.Take(user, steady_)) {
    refuse("busy");
    return;
  }
  const auto fail = [&](const char* why) {
    RegistrationFailed(user, handoff.user);
    refuse(why);
  };
  const int64_t ttl = subscription->expires - wall_usecs_ / 1000000;
  if (ttl <= 0) {
    fail("refused");
    return;
  }
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
  request.ttl_secs =
      static_cast<unsigned int>(std::min<int64_t>(ttl, std::numeric_limits<int32_t>::max()));
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
  const bool good = Judge(result, true) == Verdict::kDelivered;

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
    Update update;
    update.kind = Update::kReturned;
    update.subscription = registration.subscription;
    Note(update);
    Flush();
  } else if (registration.client != 0) {
    RegistrationFailed(registration.user, registration.user_name);
  }
  if (registration.client == 0) {
    return;
  }
  string reply;
  if (good) {
    reply = push::WriteReply(true, {"accepted", "vapid=" + registration.vapid});
  } else if (result.status == SendStatus::kNotAllowed) {
    reply = push::WriteReply(false, {"not-allowed"});
  } else if (result.status == SendStatus::kUnreachable) {
    reply = push::WriteReply(false, {"unreachable"});
  } else {
    reply = push::WriteReply(false, {"refused"});
  }
  intake_->Answer(registration.client, reply);
}

// -- queue --

void Relay::QueueFailed(const char* what) {
  TellSometimes(COI_RELAY_LOG_ERROR, "queue", kMinute,
                string("Can't ") + what + ": " +
                    (queue_->error().empty() ? "libcrypto failed" : queue_->error()));
  queue_->Rollback();
  if (!queue_->damaged()) {
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
    Unready(origin.get(), [](const Item&) { return true; });
    origin->backlog = false;
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
                             [&](const Update& update) { return Apply(update, expected); });
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
  }
}

void Relay::Note(const Update& update) {
  if (updates_.empty()) {
    updates_since_ = now_;
  }
  updates_.push_back(update);
}

bool Relay::Apply(const Update& update, vector<Expected>* expected) {
  SubscriptionState state;
  switch (update.kind) {
    case Update::kDelete:
      return queue_->DeletePush(update.id, expected, now_);
    case Update::kGone: {
      vector<int64_t> deleted;
      state.gone = now_;
      return queue_->PutSubscription(update.subscription, state) &&
             queue_->DeleteSubscription(update.user, update.subscription, &deleted);
    }
    case Update::kForget: {
      // Nothing is left that the next one would have to wait behind.
      vector<int64_t> deleted;
      if (!queue_->GetSubscription(update.subscription, &state)) {
        return false;
      }
      state.resume.reset();
      return queue_->PutSubscription(update.subscription, state) &&
             queue_->DeleteSubscription(update.user, update.subscription, &deleted);
    }
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
      return queue_->Hold(update.id, update.next, update.attempts, expected, now_);
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
    origin->backlog = true;
    MakeRunnable(origin);
  } else if (origin->wake == 0 || expected.next < origin->wake) {
    SetWake(origin, expected.next);
  }
}

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

Relay::Origin* Relay::MakeOrigin(const OriginState& state) {
  auto origin = std::make_unique<Origin>();
  origin->id = state.id;
  origin->failures = state.failures;
  origin->resume = std::min(state.resume, now_ + kMaxDelayMsecs);
  origin->window = kFirstWindow;
  origin->used = now_;
  Origin* made = origin.get();
  origins_.emplace(state.id, std::move(origin));
  return made;
}

// Looks after an origin from now on. Nullptr where there are too many.
Relay::Origin* Relay::Activate(int64_t id) {
  const auto found = origins_.find(id);
  if (found != origins_.end()) {
    return found->second.get();
  }
  if (origins_.size() >= kOriginsMax) {
    return nullptr;
  }
  optional<OriginState> state;
  queue_->GetOrigin(id, &state);
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

void Relay::SetWake(Origin* origin, int64_t wake) {
  if (origin->wake != 0) {
    wakes_.erase({origin->wake, origin});
  }
  origin->wake = wake;
  if (wake != 0) {
    wakes_.emplace(wake, origin);
  }
}

// Leaves those to the queue that have had nothing to do for the longest time.
void Relay::EvictOrigins() {
  if (origins_.size() < kOriginsMax - kOriginsMax / 8 || !updates_.empty() || evict_at_ > now_) {
    return;
  }
  vector<Origin*> idle;
  for (const auto& [id, origin] : origins_) {
    if (origin->busy == 0 && origin->ready.empty() && !origin->runnable &&
        (!origin->backlog || IsSick(*origin))) {
      idle.push_back(origin.get());
    }
  }
  std::sort(idle.begin(), idle.end(),
            [](const Origin* a, const Origin* b) { return a->used < b->used; });
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
  if (!good || !queue_->NextOrigin(&poll_at_) || !queue_->Commit()) {
    QueueFailed("look for what is due");
    poll_at_ = now_ + kSecond;
  }
  // Even if that wasn't written: it is due all the same.
  for (const OriginState& state : due) {
    const auto found = origins_.find(state.id);
    Origin* origin = found != origins_.end() ? found->second.get() : MakeOrigin(state);
    origin->marked = good;
    origin->backlog = true;
    MakeRunnable(origin);
  }
  if (poll_at_ && *poll_at_ <= now_) {
    work_left_ = true;
  }
}

// -- sending --

void Relay::Unready(Origin* origin, const std::function<bool(const Item&)>& matches) {
  std::erase_if(origin->ready, [&](const Item& item) {
    if (!matches(item)) {
      return false;
    }
    --ready_;
    ready_bytes_ -= item.mail->size;
    return true;
  });
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

// The first whose user hasn't too much under way; or the end, and then the origin
// is told when that has changed for one of them.
std::deque<Relay::Item>::iterator Relay::NextItem(Origin* origin) {
  const unsigned int most = std::max(settings_.in_flight_limit / 8, 1U);
  // A service that answers goes on with a few, or it would stand still behind the
  // pushes of a user whose other services hang.
  const bool is_well = origin->proven && origin->in_flight < kFirstWindow;
  const auto may_start = [&](const Item& item) {
    if (is_well) {
      return true;
    }
    const auto user = users_in_flight_.find(item.push.user);
    return user == users_in_flight_.end() || user->second.count < most;
  };
  const auto next = std::ranges::find_if(origin->ready, may_start);
  if (next == origin->ready.end()) {
    for (const Item& item : origin->ready) {
      vector<int64_t>& waiting = users_in_flight_[item.push.user].waiting;
      if (std::ranges::find(waiting, origin->id) == waiting.end()) {
        waiting.push_back(origin->id);
      }
    }
  }
  return next;
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
    if (origin->ready.empty() && origin->backlog && !LoadBacklog(origin)) {
      continue;
    }
    ++started;
    if (!origin->ready.empty()) {
      const auto next = NextItem(origin);
      if (next == origin->ready.end()) {
        continue;  // UserFinished() calls again.
      }
      Item item = std::move(*next);
      origin->ready.erase(next);
      --ready_;
      ready_bytes_ -= item.mail->size;
      StartItem(origin, std::move(item));
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
  vector<QueuedPush> rows;
  const int64_t limit = kLoadCount + origin->busy;
  optional<int64_t> next;
  bool good = queue_->Due(origin->id, now_, limit, &rows);
  const bool all = static_cast<int64_t>(rows.size()) < limit;
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
  origin->backlog = !all;
  SetWake(origin, next.value_or(0));

  for (const QueuedPush& row : rows) {
    if (busy_.contains(row.id)) {
      continue;
    }
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
      ++ready_;
      ready_bytes_ += item->mail->size;
      origin->ready.push_back(std::move(*item));
    } else {
      ++origin->busy;
      busy_.emplace(row.id, std::move(busy));
    }
  }
  return true;
}

// Reads a push back. Nullopt where it isn't sent; then an update says why.
optional<Relay::Item> Relay::LoadItem(const QueuedPush& row, Busy* busy) {
  Update update;
  update.id = row.id;
  const int64_t handoff_id = row.id / kPushesPerHandoff;
  const auto place = static_cast<size_t>(row.id % kPushesPerHandoff);
  if (last_mail_ == nullptr || last_mail_id_ != handoff_id) {
    last_mail_.reset();
    optional<QueuedHandoff> stored;
    if (!queue_->GetHandoff(handoff_id, &stored)) {
      // Left as it is; it is tried again after a while.
      QueueFailed("read a hand-off");
      update.kind = Update::kDefer;
      update.next = now_ + kMinute;
      update.attempts = row.attempts;
      update.flags = row.flags;
      Note(update);
      return std::nullopt;
    }
    const auto line = stored ? keys_->storage().Decrypt(stored->sealed, std::to_string(handoff_id))
                             : std::nullopt;
    auto mail = std::make_shared<Mail>();
    const char* error = nullptr;
    if (line && push::ParseHandoff(*line, &mail->handoff, &error)) {
      mail->accepted_usecs = stored->accepted_usecs;
      mail->size = line->size();
      last_mail_ = std::move(mail);
      last_mail_id_ = handoff_id;
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
    Drop(*busy, "it can't be read; its key may have been replaced");
    Note(update);
    return std::nullopt;
  }
  auto endpoint = policy_.Check(EndpointOf(*subscription));
  if (endpoint) {
    busy->origin_text = endpoint->origin;
  }
  if (row.expires <= now_) {
    Drop(*busy, "it could not be delivered in time");
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
    problem = "it could not be delivered in time";
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
  request.ttl_secs = static_cast<unsigned int>(std::clamp<int64_t>(
      (item.push.expires - now_) / kSecond, 0, std::numeric_limits<int32_t>::max()));
  request.urgency = handoff.chat ? Urgency::kHigh : Urgency::kNormal;
  request.endpoint = std::move(item.endpoint);

  busy.probe = IsSick(*origin);
  busy.proven = origin->proven;
  busy_.emplace(item.push.id, std::move(busy));
  ++users_in_flight_[item.push.user].count;
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
                         ? std::max(origin->window / 2, 1U)
                         : std::min(origin->window + 1, settings_.in_flight_origin_limit);
    origin->proven = true;
    origin->failures = 0;
    origin->resume = 0;
    origin->failed.clear();
  } else {
    origin->window = std::max(origin->window / 2, 1U);
    if (!broken) {
      origin->proven = false;
    }
    const bool first =
        std::ranges::find(origin->failed, push.push.subscription) == origin->failed.end();
    if (was_sick) {
      // Others that were under way when it fell ill say nothing new.
      origin->failures += push.probe ? 1 : 0;
    } else if (first) {
      // Some dead subscriptions don't make a service sick for others.
      origin->failed.push_back(push.push.subscription);
      origin->failures = std::min(origin->failures + (broken ? 1 : kUnreachablePoints), kSick);
    }
  }
  if (IsSick(*origin) && origin->failures != before) {
    const auto times =
        static_cast<unsigned int>(std::min<int64_t>(origin->failures - kSick + 1, 1000));
    origin->resume = now_ + OriginPause(times, random_());
    Unready(origin, [](const Item&) { return true; });
    origin->backlog = true;
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
  switch (Judge(result, (busy.push.flags & kFlagWithoutContent) != 0)) {
    case Verdict::kDelivered:
      update.kind = Update::kDelete;
      Emit(COI_RELAY_DELIVERED, busy, http, error, false);
      break;
    case Verdict::kGone:
      update.kind = Update::kGone;
      Unready(origin, same_subscription);
      Emit(COI_RELAY_GONE, busy, http, error, false);
      break;
    case Verdict::kRetry:
      update.kind = Update::kHold;
      update.next = now_ + RetryDelay(attempts, result.retry_after_secs, random_());
      Unready(origin, same_subscription);
      Emit(COI_RELAY_DEFERRED, busy, http, error, false);
      break;
    case Verdict::kWithoutContent:
      update.kind = Update::kDefer;
      update.next = now_;
      update.flags |= kFlagWithoutContent;
      Emit(COI_RELAY_DEFERRED, busy, http, error, false);
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
      Emit(COI_RELAY_DEFERRED, busy, http, error, false);
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

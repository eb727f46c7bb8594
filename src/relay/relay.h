// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_RELAY_RELAY_H
#define COI_RELAY_RELAY_H

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "coi-relay.h"
#include "push/encrypt.h"
#include "push/handoff.h"
#include "push/subscription.h"
#include "relay/clock.h"
#include "relay/endpoint.h"
#include "relay/intake.h"
#include "relay/keys.h"
#include "relay/log.h"
#include "relay/queue.h"
#include "relay/sender.h"
#include "relay/spool.h"
#include "relay/throttle.h"
#include "relay/turns.h"

// The work of coi-push, behind coi-relay.h: takes hand-offs, keeps them in the
// queue, sends what is due.
//
// What waits is in the queue and nowhere else; memory holds what is under way,
// some pushes that are about to be, and the state of the origins (push
// services) that have something to do.
namespace coi::relay {

class Relay {
 public:
  // What tests replace.
  struct Parts {
    Clock* clock = SystemClock();
    std::function<std::unique_ptr<Sender>(const SenderLimits&, const EndpointPolicy&, Sender::Done,
                                          std::string*)>
        make_sender = &Sender::Create;
    int64_t queue_max_pages = 0;
    // Of what spreads the delays; 0 for one of its own.
    uint32_t seed = 0;
    // At the end, for what is under way: it would be sent again by the next process, which
    // waits meanwhile, and with it who delivers, before it takes the spool.
    std::chrono::milliseconds leave{500};
  };

  static std::unique_ptr<Relay> Open(const coi_relay_settings& settings,
                                     const coi_relay_callbacks& callbacks, Parts parts,
                                     std::string* error);
  // Leaves the queue as a crash would; Close() before that takes leave.
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  int fd() const {
    return epoll_;
  }
  void Run();
  void AddClient(int fd);
  void Close();
  void GetStatus(coi_relay_status* status) const;

  // For tests: Run() would go on at once.
  bool HasWork() const {
    return work_left_ || (!updates_.empty() && retry_queue_at_ <= now_);
  }

 private:
  // Of all items that are ready, of a service, and of a user at one service. The queue
  // has the others; to read one back costs half as much again as taking it in.
  static constexpr size_t kReadyMax = 8192;
  static constexpr size_t kReadyBytesMax = size_t{16} << 20U;
  static constexpr size_t kReadyOriginMax = 4096;
  static constexpr size_t kReadyUserMax = 128;
  // With so many that can't be sent now, no others are looked for behind them. One
  // service's must not do that, and there must be room for others.
  static constexpr size_t kBlockedMax = 6144;
  static_assert(kReadyOriginMax < kBlockedMax && kBlockedMax < kReadyMax);
  // Requests are numbered as their pushes, and from here on as registrations.
  static constexpr uint64_t kFirstRegistration = uint64_t{1} << 62U;
  static constexpr size_t kRegistrationsMax = 64;
  static constexpr size_t kTopicSize = 24;
  // A service that has refused so many users' pushes, and taken none since, fails.
  static constexpr size_t kRefusedMax = 3;
  // Points of failure: the third user whose push can't reach it is the last straw, or
  // the ninth who is told that it is broken.
  static constexpr int64_t kSick = 9;

  static constexpr const char* kTooMany = "the user has too many";

  // How often something came out, by coi_relay_outcome.
  using Outcomes = std::array<uint64_t, COI_RELAY_GONE + 1>;

  // A hand-off in memory, shared by its pushes.
  struct Mail {
    push::Handoff handoff;
    int64_t accepted_usecs = 0;
    size_t size = 0;
    // Made when it is first needed.
    std::string payload;
  };
  // A push that is about to be sent.
  struct Item {
    QueuedPush push;
    std::shared_ptr<Mail> mail;
    std::string subscription_id;
    push::Subscription subscription;
    Endpoint endpoint;
  };
  // A push service.
  struct Origin {
    int64_t id = 0;
    unsigned int in_flight = 0;
    // Of its pushes, in busy_.
    unsigned int busy = 0;
    // Requests it may have under way; grows as it answers.
    unsigned int window = 0;
    bool proven = false;
    // Points for consecutive failures; from kSick on it is left alone until
    // `resume`, and then asked once.
    int64_t failures = 0;
    int64_t resume = 0;
    // Tries since it last took a push, as far as we know; and what came of all.
    int64_t vain = 0;
    Outcomes outcomes{};
    // Users whose pushes have given it points since it last worked.
    std::vector<int64_t> failed;
    // Who has requests under way, and how many.
    std::unordered_map<int64_t, unsigned int> users;
    // Whose push was its first; and whether there are others, as for device tokens.
    int64_t first_user = 0;
    bool is_shared = false;
    // Whose pushes it has refused since it last took one, and when it last did.
    std::vector<int64_t> refused;
    int64_t refused_at = 0;
    // The queue may have due pushes that are not in `ready`.
    bool backlog = false;
    // All of those were looked at when `owners` was last set.
    bool saw_all = false;
    // They are of these users; empty for anybody's.
    std::vector<int64_t> owners;
    Turns<Item> ready;
    bool runnable = false;
    int64_t wake = 0;
    int64_t used = 0;
    // The queue knows that we look after it.
    bool marked = false;
  };
  // A push under way, or done but not yet written down as such.
  struct Busy {
    Origin* origin = nullptr;
    QueuedPush push;
    int64_t accepted_usecs = 0;
    bool probe = false;
    bool done = false;
    bool proven = false;
    // Its subscription has been registered again since it was sent.
    bool outdated = false;
    // A newer one of its user's has its place in the queue: it isn't tried again.
    bool replaced = false;
    std::string user;
    std::string subscription_id;
    std::string origin_text;
    std::string vapid;
  };
  // What is to be written into the queue.
  struct Update {
    enum Kind { kDelete, kGone, kForget, kReturned, kHold, kDefer, kMove, kOrigin };
    Kind kind = kDelete;
    int64_t id = 0;
    int64_t user = 0;
    int64_t subscription = 0;
    int64_t origin = 0;
    int64_t next = 0;
    int64_t attempts = 0;
    int64_t flags = 0;
    int64_t failures = 0;
    // The newest when this was noted. Where it can't be written at once, the
    // subscription may have been made again, and has later ones.
    int64_t last_handoff = 0;
  };
  struct Registration {
    uint64_t client = 0;
    int64_t user = 0;
    int64_t subscription = 0;
    int64_t origin = 0;
    int64_t deadline = 0;
    int64_t started_usecs = 0;
    std::string user_name;
    std::string subscription_id;
    std::string origin_text;
    std::string vapid;
  };
  // A hand-off on its way into the queue.
  struct Incoming {
    uint64_t client = 0;
    std::string file;
    std::string line;
    unsigned int uid = 0;
    int64_t accepted_usecs = 0;
    push::Handoff handoff;
    // The outcome:
    bool full = false;
    int64_t name = 0;
    std::vector<std::string> gone;
    std::vector<Item> items;
    std::vector<QueuedPush> replaced;
    // Refused ones of device tokens that get this mail's.
    std::vector<QueuedPush> outdated;
  };

  Relay(const coi_relay_settings& settings, const coi_relay_callbacks& callbacks, Parts parts);
  bool Start(std::string* error);
  bool SetSubject(std::string* error);

  void Tell(enum coi_relay_log level, const std::string& text);
  void TellSometimes(enum coi_relay_log level, const std::string& name, int64_t interval,
                     const std::string& text);
  void Emit(enum coi_relay_outcome outcome, const Busy& push, unsigned int status,
            std::string_view error, bool validation);
  void Drop(const Busy& push, std::string_view why);
  void NotTaken(const Busy& push, unsigned int status, std::string_view error);

  int64_t Name(std::string_view kind, std::initializer_list<std::string_view> parts);
  int64_t UserName(const std::string& user, unsigned int uid);
  int64_t OriginName(const std::string& origin);
  const std::string& EndpointOf(const push::Subscription& subscription) const;
  int64_t SubscriptionName(const std::string& user, unsigned int uid, const std::string& id,
                           const push::Subscription& subscription);

  // A round
  bool ReadClients();
  bool TakeResults();
  void ReadClock();
  void Housekeep();
  void Arm();

  // relay_intake.cc
  void Handle(Intake::Request request, std::vector<Incoming>* deliveries);
  void Forget(uint64_t client, unsigned int uid, const push::Handoff& handoff);
  void AnswerGone(uint64_t client, unsigned int uid, const push::Handoff& handoff);
  void Deliver(std::vector<Incoming>* deliveries);
  void ExtendReady(const QueuedPush& push, int64_t expires);
  bool Enqueue(Incoming* incoming);
  bool DeleteRefused(int64_t user, const std::vector<Item>& items, Incoming* incoming,
                     std::vector<Expected>* expected);
  bool KeepUserLimit(int64_t user, const std::vector<int64_t>& extended, Incoming* incoming,
                     std::vector<Expected>* expected);
  bool IsFailing(const std::optional<Endpoint>& endpoint);
  bool MarkOrigin(int64_t id);
  void Accepted(Incoming* incoming);
  void RunSpool();
  bool IsRecent(int64_t name) const {
    return recent_.contains(name);
  }
  void AddRecent(int64_t name);
  void Register(uint64_t client, unsigned int uid, const push::Handoff& handoff);
  void RegistrationFailed(int64_t user, const std::string& name);
  void FinishRegistration(const SendResult& result);

  // relay_status.cc
  // What waits for one push service.
  struct Waiting {
    int64_t origin = 0;
    // The oldest push.
    int64_t first = 0;
    int64_t count = 0;
  };
  // The answer to a request `status`, being made.
  struct Census {
    int64_t last = 0;
    std::unordered_map<int64_t, Waiting> services;
    // Of services that there was no room for.
    int64_t others = 0;
    // Those that are told of, once all are counted.
    std::optional<std::vector<Waiting>> told;
    std::vector<std::string> fields;
  };
  void AskStatus(const Intake::Request& request);
  void MakeStatus();
  bool StepCensus(bool* done);
  bool Count(bool* done);
  bool Describe(const Waiting& waiting, std::string* field);

  // Queue
  bool Flush();
  bool ApplyUpdates(std::vector<Expected>* expected);
  void UpdatesWritten(const std::vector<Expected>& expected);
  void Note(const Update& update);
  bool GetSubscription(int64_t id, SubscriptionState* state);
  bool IsGone(const SubscriptionState& state, const push::Subscription& subscription) const;
  bool Apply(const Update& update, std::vector<Expected>* expected);
  void QueueFailed(const char* what);
  void Expect(const Expected& expected);

  // relay_sending.cc
  Origin* Activate(int64_t id);
  Origin* MakeOrigin(const OriginState& state);
  void EvictOrigins();
  void PollOrigins();
  void MakeRunnable(Origin* origin);
  void HasDue(Origin* origin, std::optional<int64_t> user = std::nullopt);
  void SetWake(Origin* origin, int64_t wake);
  bool IsSick(const Origin& origin) const;
  bool CanStart(const Origin& origin) const;
  bool HasShare(const Origin& origin, int64_t user) const;
  static bool MayOwn(const Origin& origin, int64_t user);
  bool HasUsefulBacklog(const Origin& origin) const;
  std::optional<Item> NextItem(Origin* origin);
  void MakeItemReady(Origin* origin, Item item);
  void UserFinished(int64_t user);
  bool StartSome();
  bool MayUnproven() const;
  bool HasRunnable() const;
  Origin* NextRunnable();
  bool LoadBacklog(Origin* origin);
  bool LoadMail(int64_t handoff_id);
  std::optional<Item> LoadItem(const QueuedPush& row, Busy* busy);
  bool StartItem(Origin* origin, Item item);
  void Unready(Origin* origin, int64_t user, const std::function<bool(const Item&)>& matches);
  void UnreadyAll(Origin* origin);
  std::string Authorization(const push::Subscription& subscription, const Endpoint& endpoint);
  void Finish(const SendResult& result);
  static int64_t LeastVain(int64_t failures);
  void NoteHealth(Origin* origin, const Busy& push, const SendResult& result);

  coi_relay_settings settings_;
  coi_relay_callbacks callbacks_;
  Parts parts_;
  Log log_;
  LogLimit log_limit_;
  int64_t wall_usecs_ = 0;    // since 1970
  int64_t steady_usecs_ = 0;  // nobody sets it
  int64_t now_usecs_ = 0;     // of the queue's clock, see Queue::skew()
  int64_t now_ = 0;           // milliseconds of it
  int64_t steady_ = 0;        // milliseconds
  std::minstd_rand random_;

  int epoll_ = -1;
  int timer_ = -1;
  int64_t armed_ = 0;
  // Readable while there is work left.
  int work_ = -1;
  bool work_left_ = false;
  bool work_told_ = false;
  bool run_sender_ = false;

  // "" for none
  std::string vapid_subject_;
  std::string device_token_gateway_;
  std::optional<Keys> keys_;
  push::Encrypter encrypter_;
  EndpointPolicy policy_;
  std::unique_ptr<Queue> queue_;
  std::unique_ptr<Spool> spool_;
  std::unique_ptr<Intake> intake_;
  std::unique_ptr<Sender> sender_;
  bool closing_ = false;
  bool crypto_failed_ = false;

  std::vector<Intake::Request> requests_;
  std::vector<SendResult> results_;
  std::vector<Update> updates_;
  int64_t updates_since_ = 0;
  int64_t retry_queue_at_ = 0;
  int64_t checkpoint_at_ = 0;

  std::unordered_map<int64_t, std::unique_ptr<Origin>> origins_;
  // Those that may have something to send: the proven ones, and the others.
  std::deque<Origin*> runnable_;
  std::deque<Origin*> runnable_unproven_;
  bool turn_ = false;
  std::set<std::pair<int64_t, Origin*>> wakes_;
  std::optional<int64_t> poll_at_ = 0;
  int64_t evict_at_ = 0;
  std::unordered_map<int64_t, Busy> busy_;
  std::unordered_map<std::string, int64_t> origin_names_;
  // Users who have requests under way, and the origins that wait for them to
  // have fewer.
  struct UserInFlight {
    unsigned int count = 0;
    std::vector<int64_t> waiting;
  };
  std::unordered_map<int64_t, UserInFlight> users_in_flight_;
  unsigned int in_flight_ = 0;
  unsigned int unproven_ = 0;
  size_t ready_ = 0;
  size_t ready_bytes_ = 0;
  std::shared_ptr<Mail> last_mail_;
  int64_t last_mail_id_ = 0;

  uint64_t next_registration_ = 0;
  std::map<uint64_t, Registration> registrations_;
  Throttle throttle_;

  struct Token {
    std::string value;
    int64_t expires = 0;
  };
  std::unordered_map<std::string, Token> tokens_;

  // Hand-offs that have been acknowledged; the same one may still come out of
  // the spool.
  std::unordered_set<int64_t> recent_;
  std::deque<int64_t> recent_order_;

  int64_t housekeep_at_ = 0;
  Outcomes outcomes_{};
  // Who has asked for the status; the first one's answer is being made.
  std::deque<uint64_t> status_clients_;
  std::unique_ptr<Census> census_;
};

}  // namespace coi::relay

#endif  // COI_RELAY_RELAY_H

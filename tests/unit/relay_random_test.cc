// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Anything happens to the relay, and what is accepted is sent all the same, once.
// COI_TEST_SEEDS is how many courses of events there are.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "relay/keys.h"
#include "relay_util.h"

namespace coi::test {
namespace {

using push::Handoff;
using push::HandoffKind;
using relay::PushRequest;
using std::string;

// Lets SQLite fail, wherever it is.
class Faults {
 public:
  Faults() {
    one_in = 0;
    thread_ = std::this_thread::get_id();
    sqlite3_auto_extension(Extension());
  }
  ~Faults() {
    sqlite3_cancel_auto_extension(Extension());
  }
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;

  // Of so many of its steps, one fails; 0 for none.
  static unsigned int one_in;
  static std::minstd_rand random;

 private:
  static int Fail(void* database) {
    if (one_in == 0 || random() % one_in != 0) {
      return 0;
    }
    // One that has been done is no longer busy, and mustn't say that it has failed; nor
    // these, halfway.
    bool is_busy = false;
    sqlite3_stmt* statement = nullptr;
    while ((statement = sqlite3_next_stmt(static_cast<sqlite3*>(database), statement)) != nullptr) {
      // One that is being prepared isn't, and has no text: newer SQLites ask then, too.
      if (sqlite3_stmt_busy(statement) != 0) {
        const std::string_view sql = sqlite3_sql(statement);
        is_busy = true;
        if (sql == "COMMIT" || sql == "ROLLBACK") {
          return 0;
        }
      }
    }
    return is_busy ? 1 : 0;
  }
  static int Watch(sqlite3* database, char** /*error*/, const struct sqlite3_api_routines*) {
    if (std::this_thread::get_id() == thread_) {
      sqlite3_progress_handler(database, 1, &Fail, database);
    }
    return SQLITE_OK;
  }
  static void (*Extension())() {
    return reinterpret_cast<void (*)()>(&Watch);
  }
  static std::thread::id thread_;
};
unsigned int Faults::one_in = 0;
std::minstd_rand Faults::random;
std::thread::id Faults::thread_;

// How a push service answers.
enum class Mood { kWell, kMixed, kBroken, kAway, kRefuses, kHangs };

struct Device {
  string user, id, endpoint;
  // Of a device token; 0 for a subscription.
  int64_t set = 0;
  size_t service = 0;
  bool is_gone = false;
  // What came until then needn't be sent.
  int ended_at = 0;
  // When the last push that was taken had been started.
  int woken_at = 0;

  string Token() const {
    return "openpgp:" + user + id;
  }
};

struct Accepted {
  string topic;
  size_t device = 0;
  int at = 0;
};

class RelayRandom : public RelayTest, public testing::WithParamInterface<unsigned int> {
 protected:
  static constexpr unsigned int kServices = 6;
  static constexpr size_t kGateway = 0;

  void SetUp() override {
    random_.seed(GetParam() + 1);
    seed_ = GetParam() + 1;
    Faults::random.seed(GetParam() + 1);
    clock_.wall = int64_t{2000000000} * 1000000;
    // So that names, by which SQLite sorts, are always the same: 32 times a 'k'.
    const string kind = "PRIVATE KEY-----\n";
    WriteFile(key_dir_ + "/storage.pem",
              "-----BEGIN " + kind +
                  "MC4CAQAwBQYDK2VuBCIEIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr\n"
                  "-----END " +
                  kind);
    chmod((key_dir_ + "/storage.pem").c_str(), 0600);
    settings_.ttl_chat_secs = settings_.ttl_mail_secs = 60 * 86400;
    settings_.device_token_gateway = "https://service0.example/notify";
    settings_.in_flight_limit = Chance(50) ? 256 : 1 + Random(12);
    settings_.in_flight_origin_limit = Chance(50) ? 32 : 1 + Random(6);
    settings_.queue_user_limit = Chance(30) ? 1 + Random(20) : 0;
    with_faults_ = Chance(40);
    if (with_faults_ && Chance(40)) {
      max_pages_ = 30 + Random(40);
    }
    ASSERT_TRUE(Open()) << error_;
    keys_ = relay::Keys::Load(
        key_dir_, [](enum coi_relay_log, const string&) {}, &error_);
    ASSERT_TRUE(keys_) << error_;
    for (unsigned int user = Random(6) + 1; user > 0; --user) {
      for (unsigned int i = Random(4) + 1; i > 0; --i) {
        Device device;
        device.user = "user" + std::to_string(user);
        device.id = "subscription-" + std::to_string(i);
        device.set = Chance(25) ? clock_.wall / 1000000 : 0;
        device.service = device.set != 0 ? kGateway : 1 + Random(kServices - 1);
        device.endpoint = "https://service" + std::to_string(device.service) + ".example/" +
                          device.user + device.id;
        devices_.push_back(device);
      }
    }
  }

  unsigned int Random(unsigned int below) {
    return static_cast<unsigned int>(random_() % below);
  }
  bool Chance(unsigned int percent) {
    return Random(100) < percent;
  }
  Device& Some() {
    return devices_[Random(static_cast<unsigned int>(devices_.size()))];
  }

  string Topic(const Handoff& handoff, const string& id) {
    string text = "mail";
    for (const string& part : {handoff.user, id, std::to_string(handoff.mail.uidvalidity),
                               handoff.mail.folder, std::to_string(handoff.mail.uid)}) {
      text += ' ' + std::to_string(part.size()) + ':' + part;
    }
    return util::EncodeBase64Url(keys_->storage().Mac(text).substr(0, 24));
  }
  string Stored(const Device& device) {
    return push::WriteStored(device.set == 0 ? MakeSubscription(device.endpoint)
                                             : *push::MakeDeviceToken(device.Token(), device.set));
  }

  // Until it has nothing to do, which must come.
  void RunAll() {
    int rounds = 0;
    do {
      relay_->Run();
      for (const PushRequest& request : sender_->requests) {
        if (started_.try_emplace(request.id, now_).second && request.validation.empty() &&
            taken_.contains(request.topic) && !may_repeat_.contains(request.topic)) {
          ADD_FAILURE() << "A push is sent again";
        }
      }
    } while ((relay_->HasWork() || sender_->in_flight() > sender_->requests.size()) &&
             ++rounds < 500);
    EXPECT_LT(rounds, 500) << "It is always busy";
  }
  string AskRandom(const Handoff& handoff) {
    const int fd = Connect(push::WriteHandoff(handoff) + "\n");
    RunAll();
    return Receive(fd);
  }
  void Pass(int64_t seconds) {
    clock_.Advance(seconds);
    RunAll();
  }

  void Deliver(bool by_spool) {
    const string user = Some().user;
    Handoff handoff = MakeHandoff(user, {});
    std::vector<size_t> chosen;
    for (size_t i = 0; i < devices_.size(); ++i) {
      if (devices_[i].user == user && (chosen.empty() || Chance(60))) {
        chosen.push_back(i);
        handoff.subscriptions.emplace_back(devices_[i].id, Stored(devices_[i]));
      }
    }
    string answer;
    if (by_spool) {
      const auto sealed =
          push::SealFor(ReadFile(Spool("seal.pub")), push::WriteHandoff(handoff) + "\n");
      ASSERT_TRUE(sealed);
      const string temporary = Spool(handoff.id + ".tmp");
      WriteFile(temporary, *sealed);
      const timespec time{clock_.wall / 1000000, 0};
      const timespec times[] = {time, time};
      utimensat(AT_FDCWD, temporary.c_str(), times, 0);
      ASSERT_EQ(rename(temporary.c_str(), Spool(handoff.id + ".handoff").c_str()), 0);
      RunAll();
    } else {
      answer = AskRandom(handoff);
      if (!answer.starts_with("+\tqueued")) {
        EXPECT_TRUE(with_faults_) << answer;
        return;
      }
    }
    for (const size_t i : chosen) {
      if (answer.find("\tgone=" + devices_[i].id) == string::npos &&
          !(by_spool && devices_[i].is_gone)) {
        accepted_.push_back({Topic(handoff, devices_[i].id), i, now_});
      }
    }
  }

  relay::SendResult MakeAnswer(Mood mood) {
    relay::SendResult result;
    result.status = relay::SendStatus::kAnswered;
    result.http_status = 201;
    if (mood == Mood::kBroken) {
      result.http_status = 500 + static_cast<int>(Random(8));
    } else if (mood == Mood::kAway) {
      result.status = relay::SendStatus::kUnreachable;
      result.is_bystander = Chance(30);
    } else if (mood == Mood::kRefuses) {
      result.http_status = 403;
    } else if (mood == Mood::kMixed) {
      static constexpr int kStatuses[] = {201, 200, 204, 429, 503, 408, 413, 403, 400,
                                          302, 100, 999, 507, 410, 404, 201, 201, 201};
      result.http_status = kStatuses[Random(std::size(kStatuses))];
      if (Chance(5)) {
        result.status = relay::SendStatus::kNotAllowed;
      }
    }
    if (Chance(20)) {
      static constexpr int64_t kSeconds[] = {-5, 0, 1, 30, 600, 7200, 86400, INT64_MAX};
      result.retry_after_secs = kSeconds[Random(std::size(kSeconds))];
    }
    return result;
  }

  // Answers one of those under way, unless its service hangs.
  void AnswerSome(bool is_well) {
    auto& requests = sender_->requests;
    std::swap(requests[0], requests[Random(static_cast<unsigned int>(requests.size()))]);
    const PushRequest& request = requests[0];
    const auto device = std::ranges::find_if(devices_, [&](const Device& one) {
      return request.is_device_token ? request.body == one.Token()
                                     : request.endpoint.url == one.endpoint;
    });
    ASSERT_NE(device, devices_.end());
    const Mood mood = is_well ? Mood::kWell : moods_[device->service];
    if (mood == Mood::kHangs) {
      return;
    }
    const relay::SendResult result = MakeAnswer(mood);
    const int status = result.status == relay::SendStatus::kAnswered ? result.http_status : 0;
    const bool is_taken = status / 100 == 2;
    if (!request.validation.empty()) {
      device->is_gone = device->is_gone && !is_taken;
    } else if (status == 404 || status == 410) {
      device->is_gone = true;
      device->ended_at = now_;
    } else if (request.is_device_token) {
      device->woken_at = std::max(device->woken_at, is_taken ? started_[request.id] : 0);
      device->ended_at = status == 413 ? now_ : device->ended_at;
    } else if (is_taken) {
      taken_.insert(request.topic);
      may_repeat_.erase(request.topic);
    } else if (status == 413 && !too_large_.insert(request.topic).second) {
      // Dropped, if the first answer was noted.
      taken_.insert(request.topic);
      may_repeat_.insert(request.topic);
    }
    started_.erase(request.id);
    sender_->Answer(result);
  }

  void Register(const Device& device) {
    if (device.set == 0) {
      Handoff handoff = MakeRegistration(device.user, device.endpoint);
      handoff.subscriptions.front().first = device.id;
      AskRandom(handoff);
    }
  }
  void Forget(Device* device) {
    Handoff handoff;
    handoff.kind = HandoffKind::kForget;
    handoff.user = device->user;
    handoff.subscriptions.emplace_back(device->id, Stored(*device));
    device->ended_at = now_++;
    EXPECT_EQ(AskRandom(handoff), "+\tok\n");
    SetAgain(device);
  }
  void SetAgain(Device* device) {
    if (device->set != 0) {
      ++device->set;
      device->is_gone = false;
      device->ended_at = now_++;
    }
  }
  void AskForStatus() {
    Handoff handoff;
    handoff.kind = HandoffKind::kStatus;
    const string answer = AskRandom(handoff);
    EXPECT_TRUE(with_faults_ || answer.starts_with("+\tok\tqueued=")) << answer;
  }

  void Restart(bool is_killed) {
    if (!is_killed) {
      relay_->Close();
    }
    if (with_faults_) {
      may_repeat_ = taken_;
    }
    started_.clear();
    const unsigned int one_in = std::exchange(Faults::one_in, 0);
    relay_.reset();
    ASSERT_TRUE(Open()) << error_;
    Faults::one_in = one_in;
    RunAll();
  }

  void Step() {
    ++now_;
    const unsigned int what = Random(1000);
    if (what < 330) {
      Deliver(what < 30);
    } else if (what < 650) {
      for (unsigned int i = Random(6); i > 0 && !sender_->requests.empty(); --i) {
        AnswerSome(false);
        if (Chance(50)) {
          RunAll();
        }
      }
      RunAll();
    } else if (what < 760) {
      Pass(what < 730 ? 1 + Random(20) : 60 + Random(4000));
    } else if (what < 820) {
      moods_[Random(kServices)] = what < 800 ? static_cast<Mood>(Random(6)) : Mood::kWell;
    } else if (what < 850) {
      Restart(what < 835);
    } else if (what < 870) {
      Register(Some());
    } else if (what < 915) {
      Forget(&Some());
    } else if (what < 925) {
      SetAgain(&Some());
    } else if (what < 935) {
      clock_.wall += (static_cast<int64_t>(Random(200000)) - 100000) * 1000000;
      RunAll();
    } else if (what < 940) {
      AskForStatus();
    } else if (with_faults_) {
      Faults::one_in = Chance(50) ? 0 : 100 + Random(10000);
    }
  }

  // All is well at last.
  void End() {
    Faults::one_in = 0;
    if (Chance(50)) {
      Restart(true);
    }
    for (int i = 0; i < 100; ++i) {
      while (!sender_->requests.empty()) {
        ++now_;
        AnswerSome(true);
        RunAll();
      }
      Pass(900);
    }
    EXPECT_EQ(Status().queued, 0U);
    EXPECT_EQ(Status().in_flight, 0U);
    if (settings_.queue_user_limit == 0) {
      const auto lost = std::ranges::count_if(accepted_, [this](const Accepted& one) {
        const Device& device = devices_[one.device];
        return one.at > device.ended_at &&
               (device.set != 0 ? device.woken_at < one.at : !taken_.contains(one.topic));
      });
      EXPECT_EQ(lost, 0) << "of " << accepted_.size();
    }
  }

  Faults faults_;
  std::minstd_rand random_;
  std::optional<relay::Keys> keys_;
  bool with_faults_ = false;
  std::vector<Device> devices_;
  std::vector<Mood> moods_ = std::vector<Mood>(kServices);
  // Each thing that happens has a time of its own.
  int now_ = 1;
  std::vector<Accepted> accepted_;
  std::map<uint64_t, int> started_;
  // By their topics.
  std::set<string> taken_, may_repeat_, too_large_;
};

TEST_P(RelayRandom, MSG_10_each_push_is_sent_once) {
  for (int i = 0; i < 400 && !HasFailure(); ++i) {
    Step();
  }
  End();
}

unsigned int CountOfSeeds() {
  const char* count = getenv("COI_TEST_SEEDS");
  return count == nullptr ? 25 : static_cast<unsigned int>(std::strtoul(count, nullptr, 10));
}
INSTANTIATE_TEST_SUITE_P(Seeds, RelayRandom, testing::Range(0U, CountOfSeeds()));

}  // namespace
}  // namespace coi::test

// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
// What the admin is told of the queue (docs/handoff.md, `status`). An index has the
// pushes of a service that are due, but not those behind others in a line. So all are
// counted, in slices: the service goes on meanwhile, and a full queue costs no more
// than the asker's patience.

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "relay/relay.h"
#include "relay/retry.h"

namespace coi::relay {
namespace {

using std::optional;
using std::string;
using std::vector;

// For how long one Run() may be busy with it: clients wait.
constexpr int64_t kSliceUsecs = 2000;
constexpr int64_t kRowsAtOnce = 512;
// Anyone can have pushes for as many services as he likes.
constexpr size_t kServicesMax = 65536;
constexpr size_t kToldMax = 100;
constexpr size_t kOriginTextMax = 300;

}  // namespace

// It tells where users' devices are.
void Relay::AskStatus(const Intake::Request& request) {
  if (request.uid != 0 && request.uid != geteuid()) {
    intake_->Answer(request.client, push::WriteReply(false, {"not-permitted"}));
    return;
  }
  intake_->Watch(request.client);
  status_clients_.push_back(request.client);
}

void Relay::MakeStatus() {
  const int64_t began = parts_.clock->SteadyUsecs();
  while (!status_clients_.empty()) {
    if (parts_.clock->SteadyUsecs() - began >= kSliceUsecs) {
      work_left_ = true;
      return;
    }
    const uint64_t client = status_clients_.front();
    bool done = false;
    if (!intake_->IsThere(client)) {
      done = true;
    } else if (!StepCensus(&done)) {
      QueueFailed("count what waits");
      intake_->Answer(client, push::WriteReply(false, {"unavailable"}));
      done = true;
    } else if (done) {
      intake_->Answer(client, push::WriteReply(true, census_->fields));
    }
    if (done) {
      status_clients_.pop_front();
      census_.reset();
    }
  }
}

// A small piece of the work.
bool Relay::StepCensus(bool* done) {
  if (census_ == nullptr) {
    // What was sent doesn't wait.
    Flush();
    census_ = std::make_unique<Census>();
  }
  if (!census_->told) {
    return Count(done);
  }
  if (census_->told->empty()) {
    *done = true;
    return true;
  }
  string field;
  if (!Describe(census_->told->back(), &field)) {
    return false;
  }
  census_->told->pop_back();
  census_->fields.push_back(std::move(field));
  return true;
}

bool Relay::Count(bool* done) {
  Census& census = *census_;
  vector<std::pair<int64_t, int64_t>> rows;
  if (!queue_->After(census.last, kRowsAtOnce, &rows)) {
    return false;
  }
  for (const auto& [id, origin] : rows) {
    census.last = id;
    const auto found = census.services.find(origin);
    if (found != census.services.end()) {
      ++found->second.count;
    } else if (census.services.size() < kServicesMax) {
      census.services.emplace(origin, Waiting{origin, id, 1});
    } else {
      ++census.others;
    }
  }
  if (!rows.empty()) {
    return true;
  }
  // The last is told first.
  vector<Waiting> told;
  for (const auto& [origin, waiting] : census.services) {
    told.push_back(waiting);
  }
  std::ranges::sort(told, {}, &Waiting::count);
  const size_t more = told.size() - std::min(told.size(), kToldMax);
  const auto first_told = told.begin() + static_cast<std::ptrdiff_t>(more);
  for (auto waiting = told.begin(); waiting != first_told; ++waiting) {
    census.others += waiting->count;
  }
  told.erase(told.begin(), first_told);
  census.services.clear();
  census.told = std::move(told);

  coi_relay_status status;
  GetStatus(&status);
  census.fields = {"ok"};
  const std::pair<const char*, uint64_t> numbers[] = {
      {"queued", status.queued},       {"in-flight", status.in_flight},
      {"delivered", status.delivered}, {"deferred", status.deferred},
      {"dropped", status.dropped},     {"gone", status.gone}};
  for (const auto& [name, number] : numbers) {
    census.fields.push_back(string(name) + '=' + std::to_string(number));
  }
  if (more > 0) {
    census.fields.push_back("more=" + std::to_string(more) + ' ' + std::to_string(census.others));
  }
  *done = census.told->empty();
  return true;
}

bool Relay::Describe(const Waiting& waiting, string* field) {
  if (!LoadMail(waiting.first / kPushesPerHandoff)) {
    return false;
  }
  int64_t push = waiting.first;
  if (last_mail_ == nullptr) {
    // It has been sent meanwhile. Another one, which is due, is as good.
    vector<QueuedPush> due;
    bool all = false;
    const auto any = [](const QueuedPush&) { return true; };
    if (!queue_->Due(waiting.origin, now_, 1, any, &due, &all) ||
        (!due.empty() && !LoadMail(due[0].id / kPushesPerHandoff))) {
      return false;
    }
    push = due.empty() ? push : due[0].id;
  }
  // The queue has a number for the service; one of its pushes knows the name.
  string name = "unknown";
  const auto place = static_cast<size_t>(push % kPushesPerHandoff);
  if (waiting.origin == OriginName("")) {
    name = "not-allowed";
  } else if (last_mail_ != nullptr && place < last_mail_->handoff.subscriptions.size()) {
    const auto subscription = push::ReadStored(last_mail_->handoff.subscriptions[place].second);
    const auto endpoint = subscription ? policy_.Check(EndpointOf(*subscription)) : std::nullopt;
    name = endpoint ? Printable(endpoint->origin, kOriginTextMax) : "not-allowed";
  }

  optional<OriginState> state;
  optional<int64_t> next;
  if (!queue_->GetOrigin(waiting.origin, &state) || !queue_->NextDue(waiting.origin, 0, &next)) {
    return false;
  }
  Origin left_alone;
  if (state) {
    left_alone.vain = LeastVain(state->failures);
    left_alone.failures = state->failures;
    left_alone.resume = state->resume;
  }
  const auto found = origins_.find(waiting.origin);
  const Origin& origin = found == origins_.end() ? left_alone : *found->second;
  const int64_t at = IsSick(origin) ? std::max(next.value_or(0), origin.resume) : next.value_or(0);
  const auto seconds = [this](int64_t msecs) { return (msecs + queue_->skew()) / kSecond; };
  *field = "service=" + name;
  for (const int64_t number :
       {waiting.count, static_cast<int64_t>(origin.in_flight),
        static_cast<int64_t>(origin.outcomes[COI_RELAY_DELIVERED]),
        static_cast<int64_t>(origin.outcomes[COI_RELAY_DEFERRED]),
        static_cast<int64_t>(origin.outcomes[COI_RELAY_DROPPED]),
        static_cast<int64_t>(origin.outcomes[COI_RELAY_GONE]), origin.vain,
        at <= now_ ? 0 : seconds(at),
        last_mail_ == nullptr ? 0 : seconds(last_mail_->accepted_usecs / 1000)}) {
    *field += ' ' + std::to_string(number);
  }
  return true;
}

}  // namespace coi::relay

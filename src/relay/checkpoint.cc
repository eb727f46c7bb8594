// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/checkpoint.h"

#include <signal.h>
#include <sqlite3.h>

#include <utility>

namespace coi::relay {

Checkpointer::Checkpointer(std::string path) : path_(std::move(path)) {}

Checkpointer::~Checkpointer() {
  if (!has_thread_) {
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
  }
  changed_.notify_one();
  pthread_join(thread_, nullptr);
}

bool Checkpointer::Want() {
  if (!has_thread_) {
    // Signals are for the thread that waits for them.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    has_thread_ = pthread_create(&thread_, nullptr, &Run, this) == 0;
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (!has_thread_) {
      return false;
    }
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    wanted_ = true;
  }
  changed_.notify_one();
  return true;
}

void* Checkpointer::Run(void* self) {
  static_cast<Checkpointer*>(self)->Work();
  return nullptr;
}

void Checkpointer::Work() {
  sqlite3* db = nullptr;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return wanted_ || ended_; });
    if (ended_) {
      break;
    }
    wanted_ = false;
    lock.unlock();
    if (db == nullptr &&
        (sqlite3_open_v2(path_.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                         nullptr) != SQLITE_OK ||
         sqlite3_exec(db, "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0", nullptr,
                      nullptr, nullptr) != SQLITE_OK)) {
      sqlite3_close(db);
      db = nullptr;
    }
    if (db != nullptr) {
      // Passive: neither waits for anybody nor lets anybody wait.
      sqlite3_wal_checkpoint_v2(db, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
    }
    lock.lock();
  }
  sqlite3_close(db);
}

}  // namespace coi::relay
